"""The fault matrix: every fault that `docs/reliability.md` lists, brought about and judged in one place."""
