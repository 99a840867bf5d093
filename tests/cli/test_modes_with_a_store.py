"""`pgha config` and `pgha failover` against a real etcd that holds a cluster: exit codes, and what they write."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest

from pgha import records
from pgha.core.decide import Rule
from pgha.core.model import Position, Seal, Settings, Tenure
from pgha.errors import Exit
from tests.cli.test_with_a_store import ROOT, Shop, etcd, shop
from tests.ops.cases import LSN, copy, leader, order
from tests.ops.explain_cases import key, sealed

__all__ = ["etcd", "shop"]  # fixtures
pytestmark = pytest.mark.loopback


@pytest.fixture
def settled(shop: Shop) -> Shop:
    """With settings."""
    shop.put("config", records.dump_settings(Settings(1)))
    return shop


def test_the_settings_are_shown_as_they_are_set(settled: Shop) -> None:
    said = settled.run("config", "show")
    assert said.code == Exit.OK and said.out.splitlines()[0].startswith("durability=quorum ")
    body = json.loads(settled.run("config", "show", "-o", "json").out)
    wanted = {"durability": "quorum", "copies": "0", "max_lag": "16MB", "failover_after": "6s"}
    assert body["settings"] == wanted and body["revision"] == 1


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("durability=async", "--dry-run"), Exit.OK, "gives up: a commit that returned may be lost"),
        (("durability=async",), Exit.DECLINED, "declined; nothing was changed"),
        (("durability=sync",), Exit.USAGE, "quorum or strict or async"),
        (("failover_after=8s", "-y"), Exit.REFUSED, "can't be changed while the cluster runs"),
        (("copies=0", "-y"), Exit.REFUSED, "nothing would change"),
        ((), Exit.USAGE, "missing argument"),
    ],
)
def test_what_is_refused_or_only_looked_at_writes_nothing(
    settled: Shop, words: tuple[str, ...], code: Exit, text: str
) -> None:
    before = settled.entries()
    said = settled.run("config", "set", *words)
    assert said.code == code and text in said.out + said.err, said
    assert settled.entries() == before


def test_a_change_is_written_and_seen_in_force(settled: Shop) -> None:
    said = settled.run("config", "set", "max_lag=1MB", "-y")
    assert said.code == Exit.OK and said.out == "in force: max_lag=1MB\n", said
    found = records.parse_value("config", settled.entries()[ROOT + "config"][0], records.parse_settings)
    assert isinstance(found, Settings) and "@" in found.asked_by and found.at > 0.0
    assert replace(found, asked_by="", at=0.0) == Settings(2, max_lag=1 << 20)


def test_a_failover_is_refused_while_there_is_a_primary(shop: Shop) -> None:
    before = shop.entries()
    said = shop.run("failover", "--accept-data-loss", "-y")
    assert said.code == Exit.REFUSED and "n1 is a healthy primary" in said.err and "next: pgha switchover" in said.err
    assert shop.entries() == before


@pytest.fixture
def lost(shop: Shop) -> Shop:
    """n1 has crashed and n3 is gone: n2 alone has no cover."""
    shop.leader(key(tenure=Tenure.RELEASED, reason="crash"))
    revision = shop.entries()[ROOT + "leader"][1]
    position = Position(3, LSN - 4096)
    here = sealed("n2", Rule.R640_WAIT_SEALS, LSN - 4096)
    shop.member("n2", **{f: getattr(here, f) for f in ("state", "primary", "standbys", "upstream_epoch", "rule")},
                position=position, seal=Seal(revision, copy("n2"), position))  # fmt: skip
    for name in ("n1", "n3"):
        shop.put(f"members/{name}", None)
    return shop


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("-y",), Exit.WOULD_LOSE, "next: pgha failover --to n2 --accept-data-loss"),
        (("--dry-run",), Exit.WOULD_LOSE, "at stake: 4096 bytes of WAL known of"),
        (("--accept-data-loss", "--dry-run"), Exit.OK, "plan: n1 -> n2"),
        (("--accept-data-loss",), Exit.DECLINED, "declined; nothing was changed"),
        (("--to", "n3", "--accept-data-loss", "-y"), Exit.REFUSED, "it does not report"),
        (("--to", "n9", "--accept-data-loss", "-y"), Exit.USAGE, "there is no node 'n9'"),
    ],
)
def test_without_consent_and_an_answer_nothing_is_ordered(
    lost: Shop, words: tuple[str, ...], code: Exit, text: str
) -> None:
    before = lost.entries()
    said = lost.run("failover", *words)
    assert said.code == code and text in said.out + said.err, said
    assert lost.entries() == before


def test_a_failover_that_is_at_work_is_followed_and_told_as_a_document_too(lost: Shop) -> None:
    lost.order(order(kind="failover", phase="accepted", epoch=3, source="n1", target="n2", asked_at=time.time() - 3))

    def agents() -> None:
        lost.leader(leader(holder=copy("n2"), epoch=4, tenure=Tenure.HELD, sync=()))
        lost.order(None)

    later = threading.Timer(1.0, agents)
    later.start()
    try:
        said = lost.run("failover", "--to", "n2", "--accept-data-loss", "-y", "-o", "json")
    finally:
        later.join()
    assert said.code == Exit.OK and "already: followed" in said.err, said
    body = json.loads(said.out)["failover"]
    assert (body["to"], body["followed"]) == ("n2", True) and body["seconds"] > 0.0


def test_an_order_that_no_agent_takes_up_is_withdrawn(lost: Shop) -> None:
    said = lost.run("failover", "--accept-data-loss", "-y")
    assert said.code == Exit.REFUSED and "no agent took it up" in said.err
    assert ROOT + "request" not in lost.entries()


def test_a_consent_that_came_too_late_is_told(lost: Shop) -> None:
    lost.leader(replace(leader(), epoch=4, holder=copy("n1")))
    lost.member("n1")
    said = lost.run("failover", "--accept-data-loss", "-y")
    assert said.code == Exit.REFUSED and "n1 is a healthy primary" in said.err
