"""What `check` finds on a running cluster: each thing that goes wrong slowly, and the line that puts it right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from pgha.errors import RolledBack
from pgha.host import Ran
from pgha.ops import host_health
from pgha.ops.host_health import Finding, Health, StoreRoom
from pgha.ops.host_nodes import node_of
from pgha.ports import MemberHealth, MemberRoom, StoreHealth
from tests.ops.host_cases import wanted
from tests.ops.test_host_fleet import StandIn

NODE = node_of(wanted(), wanted().nodes[0])
FINE_SQL: Mapping[str, object] = {
    "slots": [["pgha_n2", True, "reserved", 0]],
    "archiver": None,
    "settings": {"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on"},
    "overrides": [],
}
FINE = Health(NODE, {"/": (50 << 20, 60)}, {"ca.pem": 3000, "postgres.pem": 1800}, FINE_SQL, True)
STORE = StoreHealth(True, (MemberHealth("192.0.2.11:2379", True, True, "3.4.23", size_bytes=20 << 20),))


def with_sql(**changes: object) -> Health:
    return replace(FINE, sql={**FINE_SQL, **changes})


def found(one: Health, store: StoreHealth = STORE, durability: str = "quorum", kept: int = 0) -> list[Finding]:
    return host_health.findings([one], store, "-i shop.yaml ", durability, room=StoreRoom(kept))


def test_nothing_is_said_of_what_is_well() -> None:
    assert found(FINE) == []
    assert found(replace(FINE, sql=None, compacts=None)) == [], "a server that is down is told by list"


@pytest.mark.parametrize(
    ("one", "what", "fix"),
    [
        (replace(FINE, room={"/": (40 << 20, 4)}), "4% (40960 MB) free on /", "make room"),
        (replace(FINE, room={"/srv": (500 << 10, 50)}), "free on /srv", "make room"),
        (replace(FINE, days={"postgres.pem": 29}), "shop/postgres.pem ends in 29 days", "-i shop.yaml bootstrap"),
        (replace(FINE, days={"etcd.pem": -2}), "ended 2 days ago", "pgha -i shop.yaml bootstrap"),
        (replace(FINE, days={"store.pem": 3}), "store.pem ends in 3 days", "where the inventory names it"),
        (replace(FINE, compacts=False), "keeps every revision", "bootstrap"),
        (with_sql(slots=[["pgha_n3", False, "extended", 3 << 30]]), "slot pgha_n3 holds 3072 MB", "pgha remove NODE"),
        (with_sql(slots=[["cdc", False, "extended", 3 << 30]]), "slot cdc", "pg_drop_replication_slot('cdc')"),
        (with_sql(slots=[["cdc", False, "lost", 0]]), "has lost WAL", "pg_drop_replication_slot('cdc')"),
        (with_sql(archiver="000000010000000000000007"), "archiving fails since 0000", "correct archive_command"),
        (with_sql(settings={"fsync": "off"}), "fsync is off", "ALTER SYSTEM RESET fsync"),
        (with_sql(settings={"synchronous_commit": "local"}), "synchronous_commit is local", "RESET synchronous_commit"),
        (
            with_sql(overrides=[["app", "", "synchronous_commit=off"]]),
            "role app has synchronous_commit=off",
            'ALTER ROLE "app" RESET synchronous_commit',
        ),
        (
            with_sql(overrides=[["app", "shop", "synchronous_commit=local"]]),
            "role app in database shop",
            'ALTER ROLE "app" IN DATABASE "shop" RESET',
        ),
        (with_sql(overrides=[["", "shop", "synchronous_commit=off"]]), "database shop", 'ALTER DATABASE "shop" RESET'),
    ],
)  # fmt: skip
def test_each_thing_is_told_with_the_line_that_puts_it_right(one: Health, what: str, fix: str) -> None:
    (finding,) = found(one)
    assert what in finding.what and fix in finding.fix


@pytest.mark.parametrize(
    ("member", "what"),
    [
        (MemberHealth("m:1", True, problem="NOSPACE"), "takes no writes"),
        (MemberHealth("m:1", True, problem="CORRUPT"), "CORRUPT"),
        (MemberHealth("m:1", True, size_bytes=1700 << 20), "uses 1700 MB"),
    ],
)
def test_the_stores_alarms_and_its_size_are_told(member: MemberHealth, what: str) -> None:
    (finding,) = found(FINE, StoreHealth(True, (member,)))
    assert what in finding.what and finding.fix


MB = 1 << 20


@pytest.mark.parametrize(
    ("size_mb", "room", "what", "fix"),
    [
        (1700, None, "uses 1700 MB; at 2048 MB (etcd's default; its own it does not tell)", "defrag"),
        (1700, MemberRoom(8192 * MB), "", ""),
        (200, MemberRoom(256 * MB, 40 * MB), "uses 200 MB; at 256 MB etcd takes no writes", "defrag"),
        (200, MemberRoom(256 * MB, 197 * MB), "197 MB of it are in use", "larger --quota-backend-bytes"),
        (9000, MemberRoom(0), "", ""),
    ],
)
def test_a_members_size_is_held_against_its_own_quota(
    size_mb: int, room: MemberRoom | None, what: str, fix: str
) -> None:
    store = StoreHealth(True, (MemberHealth("m:1", True, size_bytes=size_mb * MB),))
    rooms = {"m:1": room} if room else {}
    said = host_health.findings([FINE], store, "", "quorum", room=StoreRoom(0, rooms))
    assert len(said) == bool(what)
    assert all(what in one.what and fix in one.fix for one in said)


def test_where_nothing_is_promised_nobody_takes_from_it() -> None:
    one = with_sql(settings={"synchronous_commit": "local"}, overrides=[["app", "", "synchronous_commit=off"]])
    assert found(one, durability="async") == []


def test_short_reads_of_a_slot_and_a_role_that_asks_for_more_are_fine() -> None:
    one = with_sql(slots=[["cdc", False, "reserved", 5]], overrides=[["app", "", "synchronous_commit=remote_apply"]])
    assert found(one) == []


class Told(StandIn):
    """A host that answers the look."""

    said = ""
    server = Ran(0, json.dumps(FINE_SQL))

    def run(self, argv: object, *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        return Ran(0, self.said) if "@@room" in stdin else self.server


WHOLE = """@@room
/dev/sda1 100 90 52428800 61% /
overlay 100 90 1000 - /odd
@@unit
ExecStart="/usr/bin/etcd" "--auto-compaction-retention" "5m"
@@cert ca.pem
-----BEGIN CERTIFICATE-----
@@end
"""


def test_a_hosts_answer_is_read() -> None:
    host = Told("192.0.2.11", "")
    host.said = WHOLE
    assert host_health.look(NODE, host, "/bin", lambda pem: len(pem.splitlines())) == Health(
        NODE, {"/": (52428800, 39)}, {"ca.pem": 1}, FINE_SQL, True
    )
    host.server = Ran(2, err="no such socket")
    assert host_health.look(NODE, host, "/bin", lambda _: 1).sql is None


def test_an_answer_that_is_cut_short_is_no_good_news() -> None:
    host = Told("192.0.2.11", "")
    host.said = WHOLE.removesuffix("@@end\n")
    with pytest.raises(RolledBack, match="not whole"):
        host_health.look(NODE, host, "/bin", lambda _: 1)


def test_a_store_that_has_never_forgotten_anything_is_told_once_it_is_old_enough() -> None:
    theirs = replace(FINE, compacts=None)
    assert found(theirs, kept=host_health.KEPT_REVISIONS) == []
    (finding,) = found(theirs, kept=4_000_000)
    assert "keeps all its 4000000 revisions" in finding.what and "--auto-compaction-retention=5m" in finding.fix
    (finding,) = found(replace(FINE, compacts=False), kept=4_000_000)
    assert "its unit has no --auto-compaction-retention" in finding.what, "said once, with the nearer line"
