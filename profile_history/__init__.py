"""Download the action histories of many marketing profiles: completely, fast, without blocking its host.

The names are in `profile_history._public`, and are imported when the first of them is used: the command line, which is
a part of this package, has to listen to signals before that has taken its time.
"""

from profile_history.version import __version__ as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from profile_history._public import *  # noqa: F403 (they are listed there)
else:

    def __getattr__(name):  # noqa: ANN001, ANN202 (a type checker does not see it)
        """Import a module of the core, or all public names, and return it by its name."""
        from importlib import import_module  # noqa: PLC0415 (it takes time)
        from importlib.util import find_spec  # noqa: PLC0415

        names = globals()
        if name == "__all__" or not name.startswith("__"):
            home = None if name == "__all__" else find_spec(f"{__name__}.{name}")
            if home is None:
                public = import_module(f"{__name__}._public")
                names.update({public_name: getattr(public, public_name) for public_name in public.__all__})
                names["__all__"] = public.__all__
            elif home.submodule_search_locations is None:
                # The core asks for its own modules in this way, while the public names are being imported.
                return import_module(home.name)
            if home is None and name not in names:
                return public.get_deprecated(name)
        if name not in names:
            # A wing, such as the command line, which the import finds by itself and without the core.
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return names[name]

    def __dir__():  # noqa: ANN202 (likewise)
        """Return the public names with those that are here already."""
        return sorted({*globals(), *__getattr__("__all__")})
