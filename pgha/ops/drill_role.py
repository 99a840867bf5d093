"""The drill's own role, database and table: the statements that make and remove them.

Pure; may import the judge's values. The role's password reaches the server as a SCRAM verifier only.
"""

from __future__ import annotations

from pgha.ops.judge_writer import CREATE_SQL

NAME = "pgha_drill"  # of the role, the database and the table


def make_sql(verifier: str) -> tuple[list[str], list[str]]:
    """Statements for the database `postgres`, then those for the drill's own. What an earlier drill left is removed."""
    assert "'" not in verifier
    first = [*drop_sql(), f"CREATE ROLE {NAME} LOGIN PASSWORD '{verifier}'", f"CREATE DATABASE {NAME} OWNER {NAME}"]
    return first, [f"SET ROLE {NAME}", CREATE_SQL]


def drop_sql() -> list[str]:
    """Statements that leave nothing of the drill behind; they may be run when nothing is there."""
    return [f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)", f"DROP ROLE IF EXISTS {NAME}"]
