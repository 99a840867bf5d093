"""PostgreSQL's parameters, restarts and copies made anew, on a cluster that a client writes to all the while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgha import records
from pgha.core.model import Member, Settings
from pgha.errors import Exit
from pgha.ops import local_nodes
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster, Said, pgha
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

QUICK_S = 4.0


def run(cluster: Cluster, *words: str, code: Exit = Exit.OK) -> Said:
    said = pgha("-i", cluster.target.where, *words, within_s=120.0)
    assert said.code == code, said.text
    return said


def settings(cluster: Cluster) -> Settings:
    found = cluster.seen().records.settings
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _no_parameters(cluster: Cluster) -> Iterator[None]:
    """The next scenario begins with what every cluster has; what only a restart changes may stay."""
    yield
    cluster.mend()
    old = settings(cluster)
    if old.parameters:
        cluster.put("config", records.dump_settings(replace(old, revision=old.revision + 1, parameters={})))


@pytest.fixture(scope="module", autouse=True)
def _nothing_waits(made: Cluster) -> Iterator[None]:
    """Other scenarios find no parameter that waits for a restart."""
    yield
    made.mend()
    made.await_healthy()
    wanted = settings(made).revision
    made.await_seen(lambda s: all(m.settings == wanted for m in s.records.members.values()), "all have the settings")
    if any(m.pending for m in made.seen().records.members.values()):
        run(made, "restart", "--rolling", "--pending", "-y")
        made.await_healthy()
        made.await_seen(lambda s: not any(m.pending for m in s.records.members.values()), "nobody waits")


def show(cluster: Cluster, node: LocalNode, name: str) -> str | None:
    return cluster.sql(node, f"SHOW {name}")[0][0]


def await_member(cluster: Cluster, node: LocalNode, what: str, within_s: float = 30.0) -> Member:
    """Until the node has told that it runs the present settings, or why not."""
    wanted = settings(cluster).revision

    def told() -> bool:
        member = cluster.member(node)
        return bool(member.refused) if what == "refused" else member.settings == wanted and not member.refused

    until(told, within_s=within_s, what=f"{node.name} has told: {what}")
    return cluster.member(node)


def put(cluster: Cluster, **parameters: str) -> Settings:
    """Past all checks."""
    old = settings(cluster)
    new = replace(old, revision=old.revision + 1, parameters=parameters)
    cluster.put("config", records.dump_settings(new))
    return new


def test_a_parameter_is_in_force_on_every_node_when_the_command_returns_and_history_tells_who_set_it(
    cluster: Cluster,
) -> None:
    before = settings(cluster).revision
    run(cluster, "config", "set", "work_mem=7MB", "log_min_duration_statement=3s", "--reason", "a try", "-y")
    assert {show(cluster, n, "work_mem") for n in cluster.nodes.values()} == {"7MB"}
    said = json.loads(run(cluster, "-o", "json", "config", "show").text)
    assert said["parameters"] == {"work_mem": "7MB", "log_min_duration_statement": "3s"}
    assert sorted(said["nodes"]["in_force"]) == sorted(cluster.nodes)
    told = json.loads(run(cluster, "-o", "json", "config", "history").text)["revisions"][-1]
    assert (told["revision"], told["reason"]) == (before + 1, "a try") and "@" in told["asked_by"]
    run(cluster, "config", "rollback", str(before), "-y")
    assert {show(cluster, n, "work_mem") for n in cluster.nodes.values()} == {"4MB"}
    assert settings(cluster).parameters == {}


def test_what_the_running_servers_would_not_take_is_refused_in_one_pass_and_nothing_is_written(
    cluster: Cluster,
) -> None:
    before = settings(cluster)
    words = ("work_mem=64XB", "jit=perhaps", "shared_buffers=1kB", 'search_path="', "archive_command=true", "port=1")
    said = run(cluster, "config", "set", *words, "copies=9", "-y", code=Exit.USAGE)
    for name in ("work_mem", "jit", "shared_buffers", "search_path", "archive_command", "port", "copies"):
        assert name in said.text
    assert settings(cluster) == before


def test_a_node_that_was_away_takes_the_settings_when_it_is_back(cluster: Cluster) -> None:
    away = cluster.standbys[0]
    local_nodes.hold_down(away)
    faults.kill_at_once(away, "guard", "agent", "tool", "postgres")
    cluster.await_status(lambda s: any("silent" in r.state for r in s.rows), "it is silent", within_s=40.0)
    said = run(cluster, "config", "set", "work_mem=9MB", "-y")
    assert f"{away.name} is silent" in said.text
    cluster.power_on(away)
    await_member(cluster, away, "in force")
    assert show(cluster, away, "work_mem") == "9MB"
    cluster.await_healthy()


def test_max_connections_is_raised_on_the_standbys_first_and_a_rolling_restart_moves_the_primary_last(
    cluster: Cluster, client: Writing
) -> None:
    first, wanted = cluster.primary, int(show(cluster, cluster.primary, "max_connections") or 0) + 20
    run(cluster, "config", "set", f"max_connections={wanted}", "-y")
    cluster.await_seen(lambda s: all(m.pending for m in s.records.members.values()), "all say that they wait")
    assert "after the standbys" in cluster.member(first).pending["max_connections"][1]
    assert all(cluster.member(n).pending["max_connections"][1] == str(wanted) for n in cluster.standbys)
    run(cluster, "restart", "--rolling", "--pending", "-y")
    cluster.await_healthy()
    assert cluster.primary != first
    assert {show(cluster, n, "max_connections") for n in cluster.nodes.values()} == {str(wanted)}
    cluster.await_seen(lambda s: not any(m.pending for m in s.records.members.values()), "nobody waits")
    word = client.verdict()
    assert word.is_clean and len(word.epochs) == 2 and word.outage_s <= QUICK_S, word


def test_max_connections_is_lowered_on_the_primary_first_in_place_and_then_on_the_standbys(
    cluster: Cluster, client: Writing
) -> None:
    first, epoch = cluster.primary, client.epoch
    wanted = int(show(cluster, first, "max_connections") or 0) - 7
    run(cluster, "config", "set", f"max_connections={wanted}", "-y")
    cluster.await_seen(lambda s: all(m.pending for m in s.records.members.values()), "all say that they wait")
    run(cluster, "restart", "--rolling", "--pending", "-y")
    cluster.await_healthy()
    assert cluster.primary == first and client.await_epoch_after(epoch) == first.name
    assert {show(cluster, n, "max_connections") for n in cluster.nodes.values()} == {str(wanted)}
    word = client.verdict()
    assert word.is_clean and len(word.epochs) == 2 and word.outage_s <= QUICK_S, word
    run(cluster, "switchover", "-y")
    cluster.await_healthy()
    assert show(cluster, first, "hot_standby") == "on"


def test_the_primary_is_restarted_in_place_under_a_new_epoch(cluster: Cluster, client: Writing) -> None:
    node, epoch = cluster.primary, client.epoch
    put(cluster, max_connections=show(cluster, node, "max_connections") or "")
    started = cluster.sql(node, "SELECT pg_postmaster_start_time()")
    run(cluster, "restart", node.name, "-y")
    cluster.await_healthy()
    assert cluster.primary == node and client.await_epoch_after(epoch) == node.name
    assert cluster.sql(node, "SELECT pg_postmaster_start_time()") != started
    word = client.verdict()
    assert word.is_clean and word.outage_s <= QUICK_S, word
    event = cluster.await_seen(lambda s: client.epoch in s.records.history, "it is recorded").records.history
    assert (event[client.epoch].kind, event[client.epoch].holder) == ("restart", node.name)


def test_a_standby_is_restarted_without_a_gap_in_the_writes(cluster: Cluster, client: Writing) -> None:
    node = cluster.standbys[0]
    started = cluster.sql(node, "SELECT pg_postmaster_start_time()")
    run(cluster, "restart", node.name, "-y")
    assert cluster.sql(node, "SELECT pg_postmaster_start_time()") != started
    assert cluster.copy(node) in cluster.leader.sync[-1].voters, "it votes again when the command returns"
    word = client.verdict()
    assert word.is_clean and len(word.epochs) == 1, word


def test_what_keeps_a_server_from_starting_is_left_for_the_last_good_revision_and_told(cluster: Cluster) -> None:
    node = cluster.standbys[0]
    await_member(cluster, node, "in force")
    until(lambda: _good(node) >= 0, within_s=15.0, what="a revision has proved good")
    bad = put(cluster, shared_buffers="1000000000")
    await_member(cluster, node, "in force")
    run(cluster, "restart", node.name, "-y")
    member = await_member(cluster, node, "refused")
    assert f"revision {bad.revision} is left" in member.refused and "did not come up" in member.refused
    assert show(cluster, node, "shared_buffers") == "128MB"
    cluster.await_status(lambda s: s.sync == "sync ANY 1 of 2", "it votes again")
    put(cluster)
    await_member(cluster, node, "in force")
    cluster.await_healthy()


def _good(node: LocalNode) -> int:
    try:
        with open(f"{node.state_dir}/parameters.json", encoding="utf-8") as f:
            return int(json.load(f)["good_revision"])
    except FileNotFoundError:
        return -1


def test_what_a_server_would_not_read_does_not_reach_it_and_what_is_not_allowed_is_ignored(cluster: Cluster) -> None:
    """One unknown word in a file, and PostgreSQL takes nothing of any file: the voters could not change any more."""
    node = cluster.primary
    put(cluster, work_mem="many", archive_command="touch /tmp/x", port="1")
    member = await_member(cluster, node, "refused")
    assert "work_mem" in member.refused
    assert show(cluster, node, "archive_command") in ("", "(disabled)")
    assert cluster.sql(node, "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL") == [["0"]]
    put(cluster, work_mem="5MB", archive_command="touch /tmp/x")
    for each in cluster.nodes.values():
        await_member(cluster, each, "in force")
        assert show(cluster, each, "work_mem") == "5MB"


def test_a_copy_is_made_anew_after_it_votes_no_more_and_never_the_primarys(cluster: Cluster, client: Writing) -> None:
    node, other = cluster.standbys
    before = cluster.copy(node)
    run(cluster, "reinit", node.name, "--from", other.name, "-y")
    until(lambda: cluster.copy(node) != before, within_s=5.0, what="its record for people names the new copy")
    cluster.await_healthy()
    said = run(cluster, "reinit", cluster.primary.name, "-y", code=Exit.REFUSED)
    assert "is the primary" in said.text
    assert client.verdict().is_clean


def test_a_reload_ends_when_all_nodes_have_read_their_files(cluster: Cluster) -> None:
    said = json.loads(run(cluster, "-o", "json", "reload").text)
    assert said["reloaded"] == sorted(cluster.nodes)
    assert not cluster.seen().records.requests
