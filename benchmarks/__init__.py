"""How fast, how light and how gentle the library is, always in proportion to something measured beside it."""
