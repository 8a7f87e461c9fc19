"""One window of one profile: when it may be asked for, how, and what happens after a failure."""
