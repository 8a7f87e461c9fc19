"""The exit codes of the command line."""

DONE = 0
SOME_FAILED = 1
USAGE = 2
NOT_AUTHORISED = 77
INTERRUPTED = 130
