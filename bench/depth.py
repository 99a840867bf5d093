"""What pgha does when a part of it, its server or its store hangs or dies: outages and losses by an outside client.

One cluster for all; each scenario begins with a healthy one. Judged is what the client saw, not what pgha says.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.figures import Line, Spread, table
from pgha.errors import PghaError
from pgha.ops import local_nodes
from pgha.ops.local_nodes import LocalNode
from pgha.ports import StoreDown
from tests.loopback import faults
from tests.loopback.cluster import Cluster, pgha
from tests.loopback.writing import Word, Writing, writing
from tests.support.postgres_pair import WAL_SEGMENT_MB, until

SLACK_S = 2.0  # beyond H
FROZEN_S = 60.0
HEADLESS_S = 40.0
BACK_S = 2.0  # after the store's quorum is back
CRASH_RATIO = 1.6
CRASH_S = 0.40
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """base_s: the median outage of a crash of PostgreSQL alone, measured in the same run; 0 when it was not."""

    cluster: Cluster
    rounds: int
    say: Say
    base_s: float = 0.0


def last(seconds: float) -> None:
    """The fault lasts so long: part of the scenario, not a wait for a condition."""
    end_s = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end_s, within_s=seconds + 30, what="the fault has lasted", every_s=0.02)


def _line(name: str, words: list[Word], limit_s: float | None, why: str) -> Line:
    lost = sum(1 if w.lost is None else w.lost for w in words)
    two = sum(w.two_writers + w.duplicates for w in words)
    return Line(name, Spread(tuple(w.outage_s for w in words)), "s", limit_s, why, lost, two)


def _count(name: str, counts: list[int], why: str) -> Line:
    return Line(name, Spread(tuple(float(n) for n in counts)), "", 0.0, why)


def _failed(word: Word) -> int:
    """Writes that failed or were left open; the one under way when the verdict was asked for is none."""
    return max(0, word.unsure - 1)


# -- one process, one server -------------------------------------------------------------------------------------


def _frozen_agent(node: LocalNode, _client: Writing) -> None:
    with faults.frozen(faults.of(node, "agent")):
        last(FROZEN_S)


def _frozen_server(node: LocalNode, client: Writing) -> None:
    """It is thawed (if it still is there) once another one has taken over."""
    epoch = client.epoch
    with faults.frozen([faults.postmaster(node)]):
        client.await_epoch_after(epoch)


HURTS: dict[str, tuple[str, Callable[[LocalNode, Writing], None]]] = {
    "agent-stopped": (f"agent stopped for {FROZEN_S:g} s", _frozen_agent),
    "guard-killed": ("guard killed", lambda n, _: faults.kill(faults.of(n, "guard"))),
    "watchdog-killed": ("agent and guard killed", lambda n, _: faults.kill_at_once(n, *faults.WATCHDOG)),
    "postmaster-stopped": ("postmaster stopped", _frozen_server),
    "backend-killed": ("one backend killed", lambda n, _: faults.kill(faults.titled(n, "pgha_drill")[:1])),
}


def _one(tools: Tools, hurt: Callable[[LocalNode, Writing], None]) -> Word:
    cluster = tools.cluster
    with writing(cluster) as client:
        client.await_rows(200)
        epoch = client.epoch
        hurt(cluster.primary, client)
        client.await_epoch_after(epoch)
        cluster.await_healthy()
        client.await_rows(50)
        return client.verdict()


def hurt_lines(tools: Tools, part: str) -> list[Line]:
    """The primary's process is hurt; writes are back within H and a little, or as fast as a crash allows."""
    name, hurt = HURTS[part]
    words = []
    for number in range(1, tools.rounds + 1):
        if part == "postmaster-stopped" and number > 1:  # after a planned move a hang is the first one again
            tools.cluster.switch(tools.cluster.standbys[0])
            tools.cluster.await_healthy()
        words.append(_one(tools, hurt))
        tools.say(f"{part} {number}/{tools.rounds}: {words[-1].outage_s:.3f} s")
    if part != "backend-killed":
        return [_line(name, words, tools.cluster.timing.h_s + SLACK_S, f"H + {SLACK_S:g} s")]
    limit_s = CRASH_RATIO * tools.base_s if tools.base_s else CRASH_S
    why = f"{CRASH_RATIO:g} x baseline" if tools.base_s else f"{CRASH_S:g} s (no baseline in this run)"
    found = _line(name, words, limit_s, why)
    return [found.beside(tools.base_s)] if tools.base_s else [found]


# -- the store ---------------------------------------------------------------------------------------------------


def _leader_killed(cluster: Cluster, client: Writing) -> None:
    node = cluster.store_leader()
    faults.kill(faults.of(node, "etcd"))
    client.await_rows(200)
    cluster.power_on(node)


def _leader_stopped(cluster: Cluster, client: Writing) -> None:
    with faults.frozen(faults.of(cluster.store_leader(), "etcd")):
        last(10.0)
        client.await_rows(50)


def _member_gone(cluster: Cluster, client: Writing) -> None:
    led = cluster.store_leader()
    node = next(n for n in cluster.nodes.values() if n != led)
    faults.kill(faults.of(node, "etcd"))
    last(10.0)
    client.await_rows(50)
    cluster.power_on(node)


STORES: dict[str, tuple[str, Callable[[Cluster, Writing], None]]] = {
    "etcd-leader-killed": ("etcd leader killed", _leader_killed),
    "etcd-leader-stopped": ("etcd leader stopped for 10 s", _leader_stopped),
    "etcd-member-gone": ("one member of etcd gone for 10 s", _member_gone),
}


def store_lines(tools: Tools, part: str) -> list[Line]:
    """Nobody changes its role and no write fails."""
    (name, hurt), cluster, words = STORES[part], tools.cluster, []
    for number in range(1, tools.rounds + 1):
        with writing(cluster) as client:
            hurt(cluster, client)
            cluster.await_healthy()
            words.append(client.verdict())
        tools.say(f"{part} {number}/{tools.rounds}: {words[-1].outage_s:.3f} s, unsure {words[-1].unsure}")
    return [
        _line(f"{name}: longest pause", words, None, ""),
        _count("  changes of leader", [len(w.epochs) - 1 for w in words], "none"),
        _count("  failed writes", [_failed(w) for w in words], "none"),
    ]


def headless_lines(tools: Tools) -> list[Line]:
    """etcd without a majority: writes end at F_hard, and are back with the same primary soon after the quorum is."""
    cluster, words, late, back, moved = tools.cluster, [], [], [], []
    for number in range(1, tools.rounds + 1):
        primary, timing = cluster.primary, cluster.timing
        with writing(cluster) as client:
            client.await_rows(100)
            epoch = client.epoch
            with faults.frozen([p for node in cluster.standbys for p in faults.of(node, "etcd")]):
                began_s = time.monotonic()
                last(timing.f_hard_s + 0.1)
                quiet = client.acked
                last(began_s + HEADLESS_S - time.monotonic())
                late.append(client.acked - quiet)
            until(lambda: cluster.store_answers(), within_s=30, what="etcd answers", every_s=0.01)
            quorum_s = time.monotonic()
            client.await_epoch_after(epoch)
            back.append(time.monotonic() - quorum_s)
            cluster.await_healthy()
            moved.append(int(cluster.primary != primary))
            words.append(client.verdict())
        tools.say(f"etcd-majority-gone {number}/{tools.rounds}: back {back[-1]:.2f} s after quorum, moved {moved[-1]}")
    return [
        _line(f"etcd majority gone for {HEADLESS_S:g} s: writes stop for", words, None, ""),
        _count("  acknowledged after F_hard", late, "none"),
        Line("  back after quorum", Spread(tuple(back)), "s", BACK_S, f"{BACK_S:g} s"),
        _count("  another primary", moved, "the same"),
    ]


# -- whole nodes -------------------------------------------------------------------------------------------------


def _end(nodes: list[LocalNode], *kinds: str) -> None:
    for node in nodes:
        local_nodes.hold_down(node)
    faults.kill_at_once_of(nodes, *kinds)


def two_lines(tools: Tools) -> list[Line]:
    """Primary and one standby at one moment: nobody is promoted, `explain` says why, and either one back heals it.

    Only their servers and watchdogs: with two members of etcd gone as well the store alone would forbid it.
    """
    cluster, lines = tools.cluster, []
    for which in ("primary", "standby"):
        words, back, early, unsaid = [], [], [], []
        for number in range(1, tools.rounds + 1):
            with writing(cluster) as client:
                client.await_rows(100)
                pair, epoch = [cluster.primary, cluster.standbys[0]], client.epoch
                _end(pair, *faults.SERVER, *faults.WATCHDOG)
                acked = client.acked
                last(cluster.timing.h_s + 3.0)
                early.append(client.acked - acked + cluster.leader.epoch - epoch)
                said = pgha("-i", cluster.target.where, "explain").text
                unsaid.append(int(not all(n.name in said for n in pair) or "1 of 2" not in said))
                began_s = time.monotonic()
                cluster.power_on(pair[which != "primary"])
                client.await_epoch_after(epoch)
                back.append(time.monotonic() - began_s)
                for node in pair:
                    cluster.power_on(node)
                cluster.await_healthy()
                words.append(client.verdict())
            tools.say(f"two-killed, {which} back {number}/{tools.rounds}: {back[-1]:.2f} s; explain: {said!r:.400}")
        lines += [
            _line(f"primary and a standby killed, the {which} comes back", words, None, ""),
            Line("  back after its start", Spread(tuple(back)), "s", None, ""),
            _count("  promotions or writes before", early, "none"),
            _count("  explain does not name the reason", unsaid, "it does"),
        ]
    return lines


def all_lines(tools: Tools) -> list[Line]:
    """All nodes end at one moment and are started in each of the six orders."""
    cluster, words, back = tools.cluster, [], []
    for order in itertools.permutations(range(len(cluster.nodes))):
        with writing(cluster) as client:
            client.await_rows(100)
            nodes, epoch = [cluster.primary, *cluster.standbys], client.epoch
            _end(nodes, *faults.NODE)
            for place in order:
                cluster.power_on(nodes[place])
                last(0.5)
            began_s = time.monotonic()
            client.await_epoch_after(epoch)
            back.append(time.monotonic() - began_s)
            cluster.await_healthy()
            words.append(client.verdict())
        tools.say(f"all-killed, started {order}: back {back[-1]:.2f} s after the last start")
    return [
        _line("all nodes killed, six orders of start: writes stop for", words, None, ""),
        Line("  back after the last start", Spread(tuple(back)), "s", None, ""),
    ]


PARTS: dict[str, Callable[[Tools], list[Line]]] = {
    **{part: (lambda tools, part=part: hurt_lines(tools, part)) for part in HURTS},  # type: ignore[misc]
    **{part: (lambda tools, part=part: store_lines(tools, part)) for part in STORES},  # type: ignore[misc]
    "etcd-majority-gone": headless_lines,
    "two-killed": two_lines,
    "all-killed": all_lines,
}


def lines(wanted: set[str], rounds: int, base_s: float, say: Say) -> list[Line]:
    """All wanted parts on one cluster; after one that broke the others go on, on a new one."""
    cluster, found = Cluster(), list[Line]()
    try:
        for part in (p for p in PARTS if p in wanted):
            done = _part(part, Tools(cluster, rounds, say, base_s))
            say(table(done))
            found += done
    finally:
        cluster.down()
    return found


def _part(part: str, tools: Tools) -> list[Line]:
    """Its lines; one that says why, when it did not come to its end."""
    cluster = tools.cluster
    try:
        if cluster.root:
            cluster.mend()
        else:
            cluster.up(segment_mb=WAL_SEGMENT_MB)
        cluster.await_healthy()
        return PARTS[part](tools)
    except (AssertionError, PghaError, StoreDown) as e:
        for title, text in cluster.log_ends(25):
            tools.say(f"-- {title}\n{text}")
        cluster.down()
        return [Line(part, Spread((0.0,)), "", None, f"ENDED EARLY: {e}"[:300].replace("\n", " "), broken=True)]
