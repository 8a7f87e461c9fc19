"""Actions of a profile, or on a profile: the documented ones, their channels and labels. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

# A server that invents names without end must not fill the memory: beyond this number, each is made anew. That is many
# times the 66 documented ones, so every real unknown action is kept.
_REMEMBERED_UNKNOWNS = 1024


class Channel(StrEnum):
    """The part of the platform that an action belongs to; `any` is the vendor's word for all message channels.

    Example:
        >>> [str(action) for action in Action if action.channel is Channel.PIXEL]
        ['pixel_open']
        >>> Channel.SMS == "sms"
        True
    """

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    TELEGRAM_BOT = "telegram_bot"
    WHATSAPP = "whatsapp"
    VIBER = "viber"
    ANY = "any"
    IMPORT = "import"
    UNSUBSCRIBE = "unsubscribe"
    PIXEL = "pixel"
    PROMOCODE = "promocode"
    SEGMENT = "segment"
    RELATION = "relation"
    FORM = "form"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """An action, as the API names it.

    The set is open: a value outside the documented 66 becomes a member of its own that equals its text and has
    `known == False`. Blanks around a value are dropped, since one vendor table prints `form_abandon` with one.

    Example:
        >>> Action("click") is Action.CLICK, Action.CLICK == "click"
        (True, True)
        >>> unknown = Action("teleport")
        >>> unknown == "teleport", unknown.known, unknown.channel
        (True, False, <Channel.UNKNOWN: 'unknown'>)
    """

    SEND = "send"
    DELIV = "deliv"
    UNDELIV = "undeliv"
    OPEN = "open"
    READ = "read"
    CLICK = "click"
    CONFIRM = "confirm"
    SUBSCRIBE_EMAIL = "subscribe_email"
    UNSUBSCRIBE_EMAIL = "unsubscribe_email"
    REPLY = "reply"
    COMPLAIN = "complain"
    HBOUNCE = "hbounce"
    SEND_SMS = "send_sms"
    DELIV_SMS = "deliv_sms"
    UNDELIV_SMS = "undeliv_sms"
    CLICK_SMS = "click_sms"
    SUBSCRIBE_SMS = "subscribe_sms"
    UNSUBSCRIBE_SMS = "unsubscribe_sms"
    SEND_PUSH = "send_push"
    DELIV_PUSH = "deliv_push"
    OPEN_PUSH = "open_push"
    CLICK_PUSH = "click_push"
    UNDELIV_PUSH = "undeliv_push"
    SUBSCRIBE_PUSH = "subscribe_push"
    UNSUBSCRIBE_PUSH = "unsubscribe_push"
    TELEGRAM_BOT_SEND = "telegram_bot_send"
    TELEGRAM_BOT_DELIV = "telegram_bot_deliv"
    TELEGRAM_BOT_UNDELIV = "telegram_bot_undeliv"
    TELEGRAM_BOT_CLICK = "telegram_bot_click"
    TELEGRAM_BOT_SUBSCRIBE = "telegram_bot_subscribe"
    WHATSAPP_SEND = "whatsapp_send"
    WHATSAPP_DELIV = "whatsapp_deliv"
    WHATSAPP_UNDELIV = "whatsapp_undeliv"
    WHATSAPP_CLICK = "whatsapp_click"
    WHATSAPP_READ = "whatsapp_read"
    WHATSAPP_SUBSCRIBE = "whatsapp_subscribe"
    VIBER_SEND = "viber_send"
    VIBER_DELIV = "viber_deliv"
    VIBER_UNDELIV = "viber_undeliv"
    VIBER_CLICK = "viber_click"
    VIBER_READ = "viber_read"
    VIBER_SUBSCRIBE = "viber_subscribe"
    OFFENCE = "offence"
    SUPPRESS = "suppress"
    IMPORT_MANUAL = "import_manual"
    IMPORT_API = "import_api"
    IMPORT_FILE = "import_file"
    IMPORT_FORM = "import_form"
    IMPORT_PUSH = "import_push"
    IMPORT_POPUP = "import_popup"
    UNSUB_API = "unsub_api"
    UNSUB_MANUAL = "unsub_manual"
    PIXEL_OPEN = "pixel_open"
    PROMOCODE_ATTACH = "promocode_attach"
    PROMOCODE_DETACH = "promocode_detach"
    PROMOCODE_ACTIVATE = "promocode_activate"
    SEGS_ADD = "segs_add"
    SEGS_REMOVE = "segs_remove"
    REL_ATTACH = "rel_attach"
    REL_DETACH = "rel_detach"
    REL_STRENGTHEN = "rel_strengthen"
    FORM_LOAD = "form_load"
    FORM_PAGE_SHOW = "form_page_show"
    FORM_POST = "form_post"
    FORM_ABANDON = "form_abandon"
    FORM_BOUNCE = "form_bounce"

    @classmethod
    def _missing_(cls, value: object) -> Action | None:
        if not isinstance(value, str) or not (name := value.strip()):
            return None
        if name in cls._value2member_map_:
            return cls(name)
        if (unknown := _UNKNOWNS.get(name)) is None:
            unknown = str.__new__(cls, name)
            unknown._name_ = name
            unknown._value_ = name
            if len(_UNKNOWNS) < _REMEMBERED_UNKNOWNS:
                _UNKNOWNS[name] = unknown
        return unknown

    @property
    def known(self) -> bool:
        """Tell whether the vendor documents this action.

        Example:
            >>> Action.CLICK.known, Action("teleport").known
            (True, False)
        """
        return self._value_ in CATALOGUE

    @property
    def channel(self) -> Channel:
        """Return the channel; `Channel.UNKNOWN` for an action that is not documented.

        Example:
            >>> Action.VIBER_READ.channel
            <Channel.VIBER: 'viber'>
        """
        return CATALOGUE[self._value_][0] if self.known else Channel.UNKNOWN

    def label(self, language: Literal["en", "ru"] = "en") -> str:
        """Return a short description for people; an action that is not documented is described by its own name.

        Args:
            language: `en` or `ru`.

        Raises:
            ValueError: There are no labels in that language.

        Example:
            >>> Action.CLICK.label()
            'Link in an email clicked'
            >>> Action.CLICK.label("ru")
            'Нажата ссылка в письме'
        """
        if language not in ("en", "ru"):
            raise ValueError(f"labels are in 'en' or 'ru', not in {language!r}")
        if not self.known:
            return self._value_
        _, english, russian = CATALOGUE[self._value_]
        return english if language == "en" else russian


_UNKNOWNS: dict[str, Action] = {}

CATALOGUE: Mapping[str, tuple[Channel, str, str]] = {
    "send": (Channel.EMAIL, "Email sent", "Письмо отправлено"),
    "deliv": (Channel.EMAIL, "Email delivered", "Письмо доставлено"),
    "undeliv": (Channel.EMAIL, "Email could not be delivered", "Письмо не удалось доставить"),
    "open": (Channel.EMAIL, "Email opened", "Письмо открыли"),
    "read": (Channel.EMAIL, "Email kept open for 8 seconds or longer", "Письмо держали открытым от 8 секунд"),
    "click": (Channel.EMAIL, "Link in an email clicked", "Нажата ссылка в письме"),
    "confirm": (
        Channel.EMAIL,
        "Subscription confirmed by the link in an email",
        "Подписка подтверждена ссылкой из письма",
    ),
    "subscribe_email": (Channel.EMAIL, "Subscribed to a resource's emails", "Оформлена подписка на письма ресурса"),
    "unsubscribe_email": (
        Channel.EMAIL,
        "Unsubscribed from a resource's emails",
        "Отменена подписка на письма ресурса",
    ),
    "reply": (Channel.EMAIL, "Email answered", "На письмо ответили"),
    "complain": (Channel.EMAIL, "Email reported as spam", "На письмо пожаловались"),
    "hbounce": (Channel.EMAIL, "Address permanently unreachable", "Адрес окончательно недоступен"),
    "send_sms": (Channel.SMS, "SMS handed to the gateway", "SMS передано шлюзу"),
    "deliv_sms": (Channel.SMS, "SMS delivered", "SMS доставлено"),
    "undeliv_sms": (Channel.SMS, "SMS could not be delivered", "SMS не удалось доставить"),
    "click_sms": (Channel.SMS, "Link in an SMS clicked", "Нажата ссылка в SMS"),
    "subscribe_sms": (Channel.SMS, "Subscribed to a resource's SMS", "Оформлена подписка на SMS ресурса"),
    "unsubscribe_sms": (Channel.SMS, "Unsubscribed from a resource's SMS", "Отменена подписка на SMS ресурса"),
    "send_push": (Channel.PUSH, "Push sent", "Push-уведомление отправлено"),
    "deliv_push": (Channel.PUSH, "Push delivered", "Push-уведомление доставлено"),
    "open_push": (Channel.PUSH, "Push opened", "Push-уведомление открыли"),
    "click_push": (Channel.PUSH, "Push clicked", "Нажато push-уведомление"),
    "undeliv_push": (Channel.PUSH, "Push could not be delivered", "Push-уведомление не удалось доставить"),
    "subscribe_push": (
        Channel.PUSH,
        "Subscribed to a resource's pushes",
        "Оформлена подписка на push-уведомления ресурса",
    ),
    "unsubscribe_push": (
        Channel.PUSH,
        "Unsubscribed from a resource's pushes",
        "Отменена подписка на push-уведомления ресурса",
    ),
    "telegram_bot_send": (Channel.TELEGRAM_BOT, "Telegram bot message sent", "Сообщение Telegram-бота отправлено"),
    "telegram_bot_deliv": (
        Channel.TELEGRAM_BOT,
        "Telegram bot message delivered",
        "Сообщение Telegram-бота доставлено",
    ),
    "telegram_bot_undeliv": (
        Channel.TELEGRAM_BOT,
        "Telegram bot message could not be delivered",
        "Сообщение Telegram-бота не удалось доставить",
    ),
    "telegram_bot_click": (
        Channel.TELEGRAM_BOT,
        "Link in a Telegram bot message clicked",
        "Нажата ссылка в сообщении Telegram-бота",
    ),
    "telegram_bot_subscribe": (
        Channel.TELEGRAM_BOT,
        "Subscribed to the Telegram bot",
        "Оформлена подписка на Telegram-бота",
    ),
    "whatsapp_send": (Channel.WHATSAPP, "WhatsApp message sent", "Сообщение WhatsApp отправлено"),
    "whatsapp_deliv": (Channel.WHATSAPP, "WhatsApp message delivered", "Сообщение WhatsApp доставлено"),
    "whatsapp_undeliv": (
        Channel.WHATSAPP,
        "WhatsApp message could not be delivered",
        "Сообщение WhatsApp не удалось доставить",
    ),
    "whatsapp_click": (Channel.WHATSAPP, "Link in a WhatsApp message clicked", "Нажата ссылка в сообщении WhatsApp"),
    "whatsapp_read": (Channel.WHATSAPP, "WhatsApp message read", "Сообщение WhatsApp прочитано"),
    "whatsapp_subscribe": (Channel.WHATSAPP, "Subscribed on WhatsApp", "Оформлена подписка в WhatsApp"),
    "viber_send": (Channel.VIBER, "Viber message sent", "Сообщение Viber отправлено"),
    "viber_deliv": (Channel.VIBER, "Viber message delivered", "Сообщение Viber доставлено"),
    "viber_undeliv": (Channel.VIBER, "Viber message refused on the way", "Сообщение Viber отклонено в пути"),
    "viber_click": (Channel.VIBER, "Link in a Viber message clicked", "Нажата ссылка в сообщении Viber"),
    "viber_read": (Channel.VIBER, "Viber message read", "Сообщение Viber прочитано"),
    "viber_subscribe": (Channel.VIBER, "Subscribed on Viber", "Оформлена подписка в Viber"),
    "offence": (Channel.ANY, "Held back by the sending policy", "Не отправлено по правилам рассылки"),
    "suppress": (Channel.ANY, "Held back because of the stop list", "Не отправлено из-за стоп-листа"),
    "import_manual": (Channel.IMPORT, "Profile created by hand", "Профиль заведён вручную"),
    "import_api": (Channel.IMPORT, "Profile created through the API", "Профиль заведён через API"),
    "import_file": (Channel.IMPORT, "Profile created from a file", "Профиль заведён из файла"),
    "import_form": (Channel.IMPORT, "Profile created from a form", "Профиль заведён из формы"),
    "import_push": (Channel.IMPORT, "Profile created from a push subscription", "Профиль заведён при подписке на push"),
    "import_popup": (Channel.IMPORT, "Profile created from a pop-up", "Профиль заведён через всплывающее окно"),
    "unsub_api": (Channel.UNSUBSCRIBE, "Unsubscribed through the API", "Отписан через API"),
    "unsub_manual": (Channel.UNSUBSCRIBE, "Unsubscribed by hand", "Отписан вручную"),
    "pixel_open": (Channel.PIXEL, "Goal reached", "Цель достигнута"),
    "promocode_attach": (Channel.PROMOCODE, "Promo code assigned", "Промокод назначен"),
    "promocode_detach": (Channel.PROMOCODE, "Promo code taken away", "Промокод снят"),
    "promocode_activate": (Channel.PROMOCODE, "Promo code used", "Промокод использован"),
    "segs_add": (Channel.SEGMENT, "Entered a static segment", "Добавлен в статический сегмент"),
    "segs_remove": (Channel.SEGMENT, "Left a static segment", "Убран из статического сегмента"),
    "rel_attach": (Channel.RELATION, "Linked to another profile", "Связан с другим профилем"),
    "rel_detach": (Channel.RELATION, "Link to another profile removed", "Связь с другим профилем снята"),
    "rel_strengthen": (Channel.RELATION, "Link to another profile grew stronger", "Связь с другим профилем усилилась"),
    "form_load": (Channel.FORM, "Form loaded", "Форма открыта"),
    "form_page_show": (Channel.FORM, "Form page shown", "Показана страница формы"),
    "form_post": (Channel.FORM, "Form sent", "Форма отправлена"),
    "form_abandon": (Channel.FORM, "Form left unsent for an hour", "Форма не отправлена в течение часа"),
    "form_bounce": (Channel.FORM, "Form could not be sent", "Форму не удалось отправить"),
}
