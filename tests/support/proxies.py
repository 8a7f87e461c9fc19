"""Real proxies for the tests that are marked `proxies`."""

import pytest

from benchmarks.proxies import find_program

PROGRAMS = ("nginx", "haproxy", "squid", "openssl")


def require_proxies():
    """Skip the module where a program is missing; none of them comes by pip."""
    for name in PROGRAMS:
        try:
            find_program(name)
        except FileNotFoundError as error:
            pytest.skip(str(error), allow_module_level=True)
