"""The figures: one module each, with a function `run` that measures and reports."""
