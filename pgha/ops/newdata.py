"""The first data directory of a new cluster: initdb, the roles pgha needs, in a directory beside, then one rename.

Knows PostgreSQL's single-user mode: no server listens before the watchdog starts one. No clear password is in argv,
in the environment or in the SQL: roles get SCRAM verifiers (RFC 5802; PostgreSQL `pg_authid.rolpassword`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from pgha.errors import RolledBack
from pgha.host import Host, Ran
from pgha.ops.fleet import Place

REPLICATION_USER = "pgha_replicator"
SCRAM_ITERATIONS = 4096  # PostgreSQL's default
INITDB_S = 120.0
TOOL_S = 60.0
# What pg_rewind's documentation lists for an online source without superuser.
REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)


@dataclass(frozen=True, slots=True)
class AppRole:
    """A login role that owns a database of its name (the demo's `app`)."""

    name: str
    password: str


@dataclass(frozen=True, slots=True)
class NewData:
    """What initdb is asked for. wal_segment_mb: a power of two; the demo takes 1 to stay small."""

    bin_dir: str
    password: str
    wal_segment_mb: int = 16
    app: AppRole | None = None


def new_password() -> str:
    """192 random bits in letters, digits, - and _: needs no quoting in a passfile or a URI."""
    return secrets.token_urlsafe(24)


def scram_verifier(password: str, salt: bytes) -> str:
    """SCRAM-SHA-256 as PostgreSQL stores it. The password must be ASCII (then SASLprep changes nothing)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ITERATIONS)
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    stored = base64.b64encode(hashlib.sha256(client).digest()).decode()
    server = base64.b64encode(hmac.new(salted, b"Server Key", hashlib.sha256).digest()).decode()
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{base64.b64encode(salt).decode()}${stored}:{server}"


def passfile_line(user: str, password: str) -> str:
    """One line of a libpq passfile, for every host, port and database."""
    return f"*:*:*:{user}:{password}\n"


def password_in(passfile: str | None, user: str) -> str | None:
    """The user's password in a passfile written by `passfile_line`."""
    found = re.search(rf"^\*:\*:\*:{re.escape(user)}:(\S+)$", passfile or "", re.MULTILINE)
    return found.group(1) if found else None


def role_sql(password: str, *, there: bool = False) -> list[str]:
    """The role that streams, clones and rewinds, one command a line. there: it is to be made so."""
    verifier = scram_verifier(password, secrets.token_bytes(16))
    lines = [f"{'ALTER' if there else 'CREATE'} ROLE {REPLICATION_USER} LOGIN REPLICATION PASSWORD '{verifier}';"]
    lines += [f"GRANT EXECUTE ON FUNCTION pg_catalog.{f} TO {REPLICATION_USER};" for f in REWIND_FUNCTIONS]
    return [*lines, f"GRANT pg_read_all_stats TO {REPLICATION_USER};"]  # how large a clone will be


def _sql(order: NewData) -> str:
    """One command a line, as single-user mode wants it. Names and verifiers hold no quotes."""
    lines = role_sql(order.password)
    if order.app is not None:
        secret = scram_verifier(order.app.password, secrets.token_bytes(16))
        lines.append(f"CREATE ROLE {order.app.name} LOGIN PASSWORD '{secret}';")
        lines.append(f"CREATE DATABASE {order.app.name} OWNER {order.app.name};")
    return "\n".join(lines) + "\n"


def locale_of(host: Host) -> str:
    """C.UTF-8 when the machine has it, else C (the encoding is UTF-8 either way)."""
    said = host.run(["locale", "-a"], timeout_s=10.0).out.lower().split()
    return "C.UTF-8" if any(name in ("c.utf-8", "c.utf8") for name in said) else "C"


def _must(ran: Ran, what: str) -> Ran:
    if not ran.ok:
        raise RolledBack(what, ran.tail(), "correct it and run the same command again")
    return ran


def prepare(node: Place, order: NewData, host: Host) -> str:
    """Make a complete data directory beside the node's; gives its path. Half ones of earlier tries are removed.

    Each try has a name of its own: over SSH an interrupted initdb runs on for a moment, and removes what it made.
    """
    parent, _, name = node.data_dir.rpartition("/")
    half = host.run(["find", parent, "-maxdepth", "1", "-name", f"{name}.init-*"], timeout_s=TOOL_S)
    for path in half.out.splitlines():
        host.remove_tree(path)
    made = f"{node.data_dir}.init-{secrets.token_hex(3)}"
    initdb = [f"{order.bin_dir}/initdb", "-D", made, "-U", "postgres", "-E", "UTF8", f"--locale={locale_of(host)}"]
    initdb += ["-k", "--auth-local=peer", "--auth-host=scram-sha-256", f"--wal-segsize={order.wal_segment_mb}"]
    _must(host.run(initdb, timeout_s=INITDB_S, cwd=node.dir), f"initdb failed on {node.name}")
    single = [f"{order.bin_dir}/postgres", "--single", "-D", made, "-c", "exit_on_error=on"]
    single += ["-c", "log_statement=none", "-c", "log_min_error_statement=panic", "postgres"]
    ran = host.run(single, timeout_s=TOOL_S, stdin=_sql(order), cwd=node.dir)
    _must(ran, f"the roles could not be created on {node.name}")
    if "ERROR:" in ran.err or "FATAL:" in ran.err:
        raise RolledBack(f"the roles could not be created on {node.name}", ran.tail(), "run the same command again")
    return made


@dataclass(frozen=True, slots=True)
class ControlData:
    """What pg_controldata says of a directory. system: its identifier, as decimal text."""

    system: str
    timeline: int


def controldata(node: Place, data_dir: str, bin_dir: str, host: Host) -> ControlData:
    """By the program of that name. Raises RolledBack."""
    ran = _must(host.run([f"{bin_dir}/pg_controldata", "-D", data_dir], timeout_s=TOOL_S), "pg_controldata failed")
    system = re.search(r"^Database system identifier:\s+(\d+)$", ran.out, re.MULTILINE)
    timeline = re.search(r"^Latest checkpoint's TimeLineID:\s+(\d+)$", ran.out, re.MULTILINE)
    if system is None:
        raise RolledBack(f"pg_controldata of {node.name} names no system identifier", ran.tail())
    return ControlData(system.group(1), int(timeline.group(1)) if timeline else 0)


def system_identifier(node: Place, data_dir: str, bin_dir: str, host: Host) -> str:
    """From pg_controldata, as decimal text."""
    return controldata(node, data_dir, bin_dir, host).system
