"""`pgha bootstrap --adopt` of servers that somebody made without pgha, under a client that writes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from pgha.errors import Exit
from pgha.ops import local_nodes
from pgha.watchdog import guard_tree
from tests.loopback import faults
from tests.loopback.legacy import Client, Legacy
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.deep, pytest.mark.timeout(240)]

_made: list[Legacy] = []


@pytest.fixture
def legacies() -> Iterator[list[Legacy]]:
    """Those that a test makes; they are gone afterwards."""
    yield _made
    while _made:
        _made.pop().close()


def waits(legacy: Legacy) -> dict[str, bool]:
    """By node: is its fence not armed, as `list` says?"""
    said = json.loads(legacy.pgha("list", "-o", "json").text)
    return {row["node"]: "fence" in row["pending_restart"] for row in said["nodes"]}


def test_a_running_server_becomes_a_primary_without_a_restart_and_the_first_restart_arms_it(
    legacies: list[Legacy],
) -> None:
    legacy = Legacy()
    legacies.append(legacy)
    client, before = Client(legacy), legacy.postmasters
    found = legacy.files()
    dry = legacy.pgha("bootstrap", "--adopt", "--dry-run")
    assert dry.code == 0 and "n1: primary, PostgreSQL" in dry.text and legacy.files() == found
    said = legacy.pgha("bootstrap", "--adopt", "-y")
    assert said.code == 0 and "its fence is not armed" in said.text, said.text
    client.more()
    assert legacy.postmasters == before and waits(legacy) == {"n1": True}
    rows = client.end()
    settings = legacy.pgha("config", "show").text
    assert "work_mem=7MB" in settings and "maintenance_work_mem=99MB" in settings
    restarted = legacy.pgha("restart", "--rolling", "--pending", "-y")
    assert restarted.code == 0, restarted.text
    until(lambda: waits(legacy) == {"n1": False}, within_s=15, what="its fence is armed")
    assert legacy.postmasters != before
    assert client.longest_s < 1.0, client.longest_s
    socket = f"{legacy.place}/n1/run"
    counted = legacy.run(
        "psql", "-XAtqw", "-h", socket, "-p", str(legacy.ports["n1"]), "-U", "postgres", "-c",
        "SELECT count(*), current_setting('work_mem'), current_setting('maintenance_work_mem') FROM t",
    )  # fmt: skip
    assert counted == f"{rows}|7MB|99MB"


def test_a_primary_and_its_standbys_are_taken_over_as_they_run_an_empty_node_is_cloned_and_all_are_armed_in_order(
    legacies: list[Legacy],
) -> None:
    legacy = Legacy(nodes=3, standbys=1)
    legacies.append(legacy)
    client, before = Client(legacy), legacy.postmasters
    said = legacy.pgha("bootstrap", "--adopt", "-y")
    assert said.code == 0 and "sync ANY 1 of 2" in said.text, said.text
    client.more()
    client.end()
    assert legacy.postmasters == before and waits(legacy) == {"n1": True, "n2": True, "n3": False}
    restarted = legacy.pgha("restart", "--rolling", "--pending", "-y")
    assert restarted.code == 0 and "moves to" in restarted.text, restarted.text
    until(lambda: not any(waits(legacy).values()), within_s=20, what="all fences are armed")
    until(lambda: legacy.pgha("list").code == 0, within_s=30, what="list is content")
    assert not set(before) & set(legacy.postmasters)


def test_a_primary_that_was_taken_over_dies_like_any_other_and_a_standby_takes_over(legacies: list[Legacy]) -> None:
    legacy = Legacy(nodes=3, standbys=2)
    legacies.append(legacy)
    assert legacy.pgha("bootstrap", "--adopt", "-y").code == 0
    client = Client(legacy)
    legacy.sql("n1", "CHECKPOINT")
    os.kill(legacy.postmaster("n1"), signal.SIGKILL)
    until(lambda: bool(client.error), within_s=10, what="the client's connection is gone")
    until(lambda: json.loads(legacy.pgha("list", "-o", "json").text)["leader"] in ("n2", "n3"),
          within_s=30, what="another node is primary")  # fmt: skip
    new = json.loads(legacy.pgha("list", "-o", "json").text)["leader"]
    assert int(legacy.sql(new, "SELECT count(*) FROM t")) >= client.rows
    until(lambda: legacy.pgha("list").code == 0, within_s=60, what="the old one is back")
    assert waits(legacy)["n1"] is False, "pgha has started it"


def test_guard_and_agent_killed_at_once_the_server_goes_on_and_the_next_watchdog_has_it_again(
    legacies: list[Legacy],
) -> None:
    legacy = Legacy()
    legacies.append(legacy)
    assert legacy.pgha("bootstrap", "--adopt", "-y").code == 0
    client, before = Client(legacy), legacy.postmasters
    node = local_nodes.LocalNode("n1", str(legacy.place), "", "127.0.0.1", legacy.ports["n1"], str(legacy.data("n1")))
    local_nodes.hold_down(node)
    faults.kill_at_once(node, "guard", "agent")
    client.more()
    local_nodes.let_up(node)
    assert legacy.pgha("bootstrap", "-y").code in (0, Exit.PARTIAL)
    client.more()
    client.end()
    assert legacy.postmasters == before and waits(legacy) == {"n1": True}


def test_the_guard_alone_killed_its_agent_ends_the_server_and_the_next_one_is_armed(legacies: list[Legacy]) -> None:
    legacy = Legacy()
    legacies.append(legacy)
    assert legacy.pgha("bootstrap", "--adopt", "-y").code == 0
    client, before = Client(legacy), legacy.postmaster("n1")
    node = local_nodes.LocalNode("n1", str(legacy.place), "", "127.0.0.1", legacy.ports["n1"], str(legacy.data("n1")))
    faults.kill_at_once(node, "guard")
    until(lambda: bool(client.error), within_s=10, what="its server is ended")
    until(lambda: waits(legacy) == {"n1": False}, within_s=30, what="its successor is armed")
    status = guard_tree.status_of(before)
    assert status is None or not status.may_run


def test_a_server_that_does_not_take_the_settings_gets_its_files_back_and_once_mended_is_taken_over(
    legacies: list[Legacy],
) -> None:
    legacy = Legacy()
    legacies.append(legacy)
    with (legacy.data("n1") / "postgresql.conf").open("a") as f:
        f.write("nonsense\n")
    client, before = Client(legacy), legacy.postmasters
    found = {path: text for path, text in legacy.files().items() if text}
    said = legacy.pgha("bootstrap", "--adopt", "-y")
    assert said.code == Exit.ROLLED_BACK and "did not take pgha's settings" in said.text, said.text
    client.more()
    assert {path: text for path, text in legacy.files().items() if text} == found
    path = legacy.data("n1") / "postgresql.conf"
    path.write_text(path.read_text().replace("nonsense\n", ""))
    again = legacy.pgha("bootstrap", "--adopt", "-y")
    assert again.code == 0, again.text
    client.more()
    client.end()
    assert legacy.postmasters == before and waits(legacy) == {"n1": True}


def test_the_way_back_leaves_every_server_running_with_its_own_configuration(legacies: list[Legacy]) -> None:
    legacy = Legacy(nodes=3, standbys=2)
    legacies.append(legacy)
    client, before, found = Client(legacy), legacy.postmasters, legacy.files()
    assert legacy.pgha("bootstrap", "--adopt", "-y").code == 0
    assert legacy.files() != found
    client.more()
    said = legacy.pgha("destroy", "--keep-postgres", "--confirm", "shop")
    assert said.code == 0, said.text
    client.more()
    rows = client.end()
    assert legacy.postmasters == before and client.longest_s < 2.0
    now = {path: text for path, text in legacy.files().items() if text}
    assert now == {path: text for path, text in found.items() if text}
    until(lambda: legacy.sql("n2", "SELECT count(*) FROM t") == str(rows), within_s=10, what="the standby follows")
    left = "SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_roles WHERE rolname ~ '^pgha')"
    assert legacy.sql("n1", left) == "0|0"
    assert legacy.sql("n1", "SHOW maintenance_work_mem") == "99MB"


@pytest.mark.parametrize("more", ["wal_level = minimal\nmax_wal_senders = 0\n", "max_wal_senders = 2\nfsync = off\n"])
def test_what_is_refused_has_changed_nothing(legacies: list[Legacy], more: str) -> None:
    legacy = Legacy(nodes=3, more=more)
    legacies.append(legacy)
    found, before = legacy.files(), legacy.postmasters
    said = legacy.pgha("bootstrap", "--adopt", "-y")
    assert said.code == Exit.REFUSED and said.text.count("error:") >= 2, said.text
    assert legacy.files() == found and legacy.postmasters == before
