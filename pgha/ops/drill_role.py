"""The drill's own role, database and table: the statements that make and remove them.

Pure; may import the judge's values. The role's password reaches the server as a SCRAM verifier only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from pgha.ops.judge_writer import CREATE_SQL

NAME = "pgha_drill"  # of the role, the database and the table


def scram_verifier(password: str, salt: bytes, iterations: int = 4096) -> str:
    """RFC 5802/7677: what PostgreSQL stores in place of the password. `password` is ASCII (no SASLprep here)."""
    assert password.isascii()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server)]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


def make_sql(verifier: str) -> tuple[list[str], list[str]]:
    """Statements for the database `postgres`, then those for the drill's own. What an earlier drill left is removed."""
    assert "'" not in verifier
    first = [*drop_sql(), f"CREATE ROLE {NAME} LOGIN PASSWORD '{verifier}'", f"CREATE DATABASE {NAME} OWNER {NAME}"]
    return first, [f"SET ROLE {NAME}", CREATE_SQL]


def drop_sql() -> list[str]:
    """Statements that leave nothing of the drill behind; they may be run when nothing is there."""
    return [f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)", f"DROP ROLE IF EXISTS {NAME}"]
