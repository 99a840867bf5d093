"""A running cluster's hosts: what a look at each of them finds, each finding with the line that puts it right. Pure.

One script asks as root, one query asks the server as postgres; `findings` judges. Nothing is changed.
May import errors, host values and the places on hosts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pgha.errors import RolledBack
from pgha.host import Remote
from pgha.ops import host_nodes as places
from pgha.ops.host_nodes import HostNode
from pgha.ports import MemberRoom, StoreHealth

LOOK_S = 20.0
CERTIFICATE_DAYS = 30
FREE_PERCENT, FREE_KB = 10, 1 << 20
SLOT_BYTES = 1 << 30
KEPT_REVISIONS = 100_000  # two thirds of a day of three nodes' heartbeats: whoever compacts at all has done so
QUOTA_BYTES = 2 << 30  # etcd's own, unless it says otherwise
QUOTA_PERCENT = 75
# $1 the directory of certificates, $2 the member's unit; then the places that must have room.
SCRIPT = r"""
certs=$1 unit=$2; shift 2
echo @@room; df -Pk -- "$@" 2>/dev/null | tail -n +2 | sort -u
echo @@unit; cat "$unit" 2>/dev/null | grep ^ExecStart=
for f in "$certs"/*.pem; do [ -f "$f" ] && { echo "@@cert ${f##*/}"; cat -- "$f"; }; done
echo @@end
"""
# What takes from a commit's promise when a role, a database or the server sets it otherwise.
_PROMISES = {"synchronous_commit": ("on", "remote_apply"), "fsync": ("on",), "full_page_writes": ("on",)}
SQL = """SELECT json_build_object(
 'slots', (SELECT coalesce(json_agg(json_build_array(slot_name, active, coalesce(wal_status, ''),
   coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
   restart_lsn), 0)::bigint)), '[]') FROM pg_replication_slots),
 'archiver', (SELECT CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') THEN last_failed_wal END
   FROM pg_stat_archiver),
 'settings', (SELECT json_object_agg(name, setting) FROM pg_settings
   WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes')),
 'overrides', (SELECT coalesce(json_agg(json_build_array(coalesce(r.rolname, ''), coalesce(d.datname, ''), c)), '[]')
   FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase,
   unnest(s.setconfig) AS x(c) WHERE c LIKE 'synchronous_commit=%'))"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as it should be, and the line that puts it right."""

    what: str
    fix: str

    def lines(self) -> list[str]:
        """For the terminal."""
        return [f"! {self.what}", f"  {self.fix}"]


@dataclass(frozen=True, slots=True)
class Health:
    """What one host said. room: free kB and percent by mount; days: of certificates left, by file; sql: the server's
    answer, None when it gave none; compacts: its etcd member forgets old revisions (None: it has no member)."""

    node: HostNode
    room: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    days: Mapping[str, int] = field(default_factory=dict)
    sql: Mapping[str, object] | None = None
    compacts: bool | None = None


def look(node: HostNode, remote: Remote, bin_dir: str, days_left: Callable[[str], int]) -> Health:
    """Ask. Raises RolledBack when the answer is not whole."""
    mounts = [node.dir, node.data_dir, *([node.etcd_dir] if node.has_etcd else [])]
    argv = ["sh", "-s", "--", node.tls_dir, f"{places.UNITS}/{node.etcd_unit}", *mounts]
    said = remote.as_user("root").run(argv, timeout_s=LOOK_S, stdin=SCRIPT)
    if not said.out.endswith("@@end\n"):
        raise RolledBack(f"{node.name}: its answer is not whole", said.tail(), f"ssh {node.host}")
    psql = [f"{bin_dir}/psql", "-XqAt", "-h", node.socket_dir, "-p", str(node.port), "-d", "postgres", "-c", SQL]
    answer = remote.as_user(places.USER).run(psql, timeout_s=LOOK_S)
    room: dict[str, tuple[int, int]] = {}
    days: dict[str, int] = {}
    unit = ""
    for part in said.out.split("@@")[1:]:
        head, _, body = part.partition("\n")
        if head == "room":
            rows = (line.split() for line in body.splitlines())
            room = {r[5]: (int(r[3]), 100 - int(r[4].rstrip("%"))) for r in rows if len(r) > 5 and r[4] != "-"}
        elif head == "unit":
            unit = body
        elif head.startswith("cert "):
            days[head.removeprefix("cert ")] = days_left(body)
    return Health(
        node, room, days, _parsed(answer.out) if answer.ok else None, "auto-compaction" in unit if unit else None
    )


def _parsed(text: str) -> Mapping[str, object] | None:
    try:
        body = json.loads(text)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


@dataclass(frozen=True, slots=True)
class StoreRoom:
    """kept: the revisions of a store that has never forgotten one, else 0. members: by endpoint, of those who tell."""

    kept: int = 0
    members: Mapping[str, MemberRoom] = field(default_factory=dict)


def findings(
    seen: Sequence[Health], store: StoreHealth, flags: str, durability: str, *, room: StoreRoom
) -> list[Finding]:
    """Of all hosts and the store. flags: what a suggested command needs to find this cluster."""
    found: list[Finding] = []
    for one in seen:
        found += _room(one)
        found += _certificates(one, flags)
        if one.compacts is False:
            what = f"{one.node.name}: its etcd member keeps every revision: its unit has no --auto-compaction-retention"
            found.append(Finding(what, f"pgha {flags}bootstrap"))
        if one.sql is not None:
            found += _slots(one)
            found += _archiver(one)
            found += _promises(one, durability)
    found += _store(store, room.members)
    if room.kept > KEPT_REVISIONS and not any(one.compacts is False for one in seen):
        what = (
            f"the store keeps all its {room.kept} revisions, and will until its space is used up: nothing compacts it"
        )
        step = "start each etcd with --auto-compaction-mode=periodic --auto-compaction-retention=5m; then defrag"
        found.append(Finding(what, step))
    return list(dict.fromkeys(found))


def _room(one: Health) -> Iterator[Finding]:
    for mount, (free_kb, percent) in one.room.items():
        if percent < FREE_PERCENT or free_kb < FREE_KB:
            what = f"{one.node.name}: {percent}% ({free_kb >> 10} MB) free on {mount}; a clone needs a second copy"
            yield Finding(
                what, f"make room there, or a larger disk: ssh {one.node.host} du -xh {mount} | sort -h | tail"
            )


def _certificates(one: Health, flags: str) -> Iterator[Finding]:
    for name, days in one.days.items():
        if days >= CERTIFICATE_DAYS:
            continue
        path, ends = one.node.tls(name), f"ends in {days} days" if days >= 0 else f"ended {-days} days ago"
        own = not name.startswith("store")
        fix = (
            f"pgha {flags}bootstrap" if own else f"a new one where the inventory names it, then: pgha {flags}bootstrap"
        )
        yield Finding(f"{one.node.name}: {path} {ends}", fix)


def _slots(one: Health) -> Iterator[Finding]:
    assert one.sql is not None
    for name, active, status, behind in _rows(one.sql.get("slots"), 4):
        lost = status in ("unreserved", "lost")
        if active or (not lost and int(str(behind)) < SLOT_BYTES):
            continue
        what = f"{one.node.name}: slot {name} holds {int(str(behind)) >> 20} MB of WAL and nobody reads it"
        if lost:
            what = f"{one.node.name}: slot {name} has lost WAL that its reader needs ({status})"
        mine = str(name).startswith("pgha_")
        drop = f"SELECT pg_drop_replication_slot('{name}')"
        yield Finding(what, "bring its node back, or: pgha remove NODE" if mine else f"if nobody needs it: {drop}")


def _archiver(one: Health) -> Iterator[Finding]:
    assert one.sql is not None
    failed = one.sql.get("archiver")
    if failed:
        what = f"{one.node.name}: archiving fails since {failed}; WAL piles up in pg_wal"
        yield Finding(what, f"correct archive_command; its complaint: pgha logs {one.node.name} --since 10m")


def _promises(one: Health, durability: str) -> Iterator[Finding]:
    """durability: async promises nothing that synchronous_commit could take away."""
    assert one.sql is not None
    settings = one.sql.get("settings")
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if value not in _PROMISES[name] and (name != "synchronous_commit" or durability != "async"):
            fix = f"ALTER SYSTEM RESET {name}; SELECT pg_reload_conf()"
            yield Finding(f"{one.node.name}: {name} is {value}: a commit may be lost that was acknowledged", fix)
    for role, database, setting in _rows(one.sql.get("overrides"), 3):
        name, _, value = str(setting).partition("=")
        if value in _PROMISES[name] or durability == "async":
            continue
        who = " in ".join(
            part for part in (f"role {role}" if role else "", f"database {database}" if database else "") if part
        )
        target = (
            f'ROLE "{role}"' + (f' IN DATABASE "{database}"' if database else "") if role else f'DATABASE "{database}"'
        )
        what = (
            f"{who} has {setting}: its commits are acknowledged before a standby has them, and a failover may lose them"
        )
        yield Finding(what, f"if that is not wanted: ALTER {target} RESET {name}")


def _rows(value: object, width: int) -> Iterator[tuple[object, ...]]:
    for row in value if isinstance(value, list) else ():
        if isinstance(row, list) and len(row) == width:
            yield tuple(row)


def _store(store: StoreHealth, rooms: Mapping[str, MemberRoom]) -> Iterator[Finding]:
    for member in store.members:
        where = member.endpoint
        if "NOSPACE" in member.problem:
            fix = "etcdctl compact REVISION, etcdctl defrag --cluster, then etcdctl alarm disarm"
            yield Finding(f"store member {where} takes no writes: its space is used up (NOSPACE)", fix)
        elif member.reachable and member.problem:
            yield Finding(f"store member {where}: {member.problem}", "look at etcd's log there: pgha logs --since 10m")
        yield from _quota(where, member.size_bytes, rooms.get(where))


def _quota(where: str, size: int, room: MemberRoom | None) -> Iterator[Finding]:
    """etcd counts the file, with its free pages; only defragmenting makes that smaller."""
    quota = QUOTA_BYTES if room is None else room.quota_bytes
    if not quota or size * 100 <= quota * QUOTA_PERCENT:
        return
    own = "" if room is not None else " (etcd's default; its own it does not tell)"
    what = f"store member {where} uses {size >> 20} MB; at {quota >> 20} MB{own} etcd takes no writes any more"
    fix = f"etcdctl --endpoints={where} defrag, and see that it compacts"
    if room is not None and room.used_bytes * 100 > quota * QUOTA_PERCENT:
        what += f"; {room.used_bytes >> 20} MB of it are in use"
        fix = "see that it compacts and who fills it, or start each etcd with a larger --quota-backend-bytes"
    yield Finding(what, fix)
