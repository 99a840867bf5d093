"""`python -m pgha.ops.sql_main`: run SQL over a node's Unix socket, as the account that it is started as.

stdin: one JSON object with host (the socket's directory), port, user, dbname and statements; stdout: a JSON object with
`rows` of the last statement, or `problem` and the number of the statement. Secrets may be in the statements: they
are never printed. May import the SQL client.
"""

from __future__ import annotations

import json
import sys

from pgha.adapters.client import Answer, Target, ask_all

STATEMENTS_S = 20.0


def main() -> int:
    """0 when all statements were done, else 1; 2 for an order that can't be read."""
    try:
        order = json.loads(sys.stdin.read())
        target = Target("local", order["host"], int(order["port"]), order["user"], order["dbname"])
        statements = [str(sql) for sql in order["statements"]]
    except (ValueError, KeyError, TypeError):
        return 2
    answers = ask_all(target, statements, within_s=STATEMENTS_S)
    last = answers[-1] if answers else Answer()
    sys.stdout.write(json.dumps({"rows": last.rows, "problem": last.problem, "statement": len(answers)}) + "\n")
    return 1 if last.problem else 0


if __name__ == "__main__":
    raise SystemExit(main())
