"""`pgha`: the watchdog, which cron starts every minute, before anything heavy is imported; all else is the CLI's.

May import the watchdog's entry and the CLI, each only when it is its turn.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command in sys.argv; gives the exit code."""
    if sys.argv[1:2] == ["watchdog"]:
        from pgha.watchdog.main import main as watchdog

        return watchdog(sys.argv[2:])
    from pgha.cli.main import main as cli

    return cli()


if __name__ == "__main__":
    sys.exit(main())
