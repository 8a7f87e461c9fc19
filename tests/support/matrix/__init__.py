"""The fault matrix: every fault of the reliability document, brought about and judged in one place."""
