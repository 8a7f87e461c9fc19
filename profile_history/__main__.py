"""Makes `python -m profile_history` the command line."""

from profile_history.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
