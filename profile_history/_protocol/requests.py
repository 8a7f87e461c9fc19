"""The bodies of requests. No I/O."""

from __future__ import annotations

from typing import Literal

import msgspec

from profile_history._secrets import SecretBytes, Token
from profile_history.profiles import Profile
from profile_history.windows import Window

PATH = "/api/v1.1/subscribers/history_get"


class Requests:
    """The requests of one client, with its token and its database."""

    def __init__(self, token: Token, list_id: int, auth: Literal["body", "header"]) -> None:
        self._token = token if auth == "body" else None
        self._list_id = list_id
        self._generation = token.generation
        self._fixed = self._encode_fixed()

    def body(self, profile: Profile, asked: Window) -> SecretBytes:
        """Return the request body for one window of one profile.

        Args:
            profile: The profile to ask for.
            asked: The days to name, both inclusive; an open end is left out.
        """
        # The token may have been read again from its file.
        if self._token is not None and self._token.generation != self._generation:
            self._generation = self._token.generation
            self._fixed = self._encode_fixed()
        variable = profile.body()
        if asked.date_from is not None:
            variable["date_from"] = asked.date_from.isoformat()
        if asked.date_to is not None:
            variable["date_to"] = asked.date_to.isoformat()
        return SecretBytes(self._fixed + b"," + msgspec.json.encode(variable)[1:])

    def _encode_fixed(self) -> SecretBytes:
        fixed = {"format": "json", "list_id": self._list_id}
        if self._token is not None:
            fixed["token"] = self._token.reveal()
        return SecretBytes(msgspec.json.encode(fixed)[:-1])
