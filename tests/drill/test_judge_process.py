"""The judge's own process against real servers: it writes, and is not to be deceived."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pgha.adapters.client import Phase, Target, ask_all
from pgha.adapters.local_judge import JudgeGone, JudgeProcess
from pgha.ops.drill_role import drop_sql, make_sql
from pgha.ops.judge import judge_history
from pgha.ops.newdata import scram_verifier
from tests.support.postgres_pair import DRILL_PASSWORD, PlainServer, free_ports, server_root, until

pytestmark = pytest.mark.loopback


@pytest.fixture(scope="module")
def pair() -> Iterator[list[PlainServer]]:
    """Two servers that know nothing of each other: what a split brain looks like from outside."""
    with server_root() as root:
        servers = [PlainServer(f"n{i}", root / f"n{i}", port) for i, port in enumerate(free_ports(2), 1)]
        try:
            for server in servers:
                server.initdb()
                server.start()
                server.make_roles()
            yield servers
        finally:
            for server in servers:
                server.kill()


@pytest.fixture(autouse=True)
def empty_tables(request: pytest.FixtureRequest) -> None:
    """Each test begins with empty tables."""
    for server in request.getfixturevalue("pair"):
        server.run("TRUNCATE pgha_drill", dbname="pgha_drill")


def task(servers: list[PlainServer], history: str = "") -> dict[str, object]:
    """The judge's task for these servers."""
    nodes = [{"name": s.name, "host": "127.0.0.1", "port": s.port} for s in servers]
    login = {"user": "pgha_drill", "password": DRILL_PASSWORD, "dbname": "pgha_drill"}
    return {"nodes": nodes, **login, "history": history}


def number(found: Mapping[str, object], name: str) -> float:
    """A number of a reply."""
    return float(str(found[name]))


def await_rows(judge: JudgeProcess, more: int = 20) -> None:
    """Until that many more rows are acknowledged."""
    there = number(judge.order("status"), "acked")
    until(lambda: number(judge.order("status"), "acked") >= there + more, within_s=10, what="rows are acknowledged")


def test_an_honest_server_is_clean_and_its_history_is_judged_the_same_again(
    pair: list[PlainServer], tmp_path: Path
) -> None:
    history = tmp_path / "history.jsonl"
    with JudgeProcess(task(pair[:1], str(history))) as judge:
        await_rows(judge)
        judge.order("begin")
        await_rows(judge, 50)
        found = judge.order("end")
    assert (found["clean"], found["lost"], found["two_writers"], found["epochs"]) == (True, 0, 0, [1])
    assert number(found, "acked") >= 70
    assert number(found, "outage_s") < 0.5
    assert judge_history(history).acked == found["acked"]


def test_it_keeps_to_its_rate(pair: list[PlainServer]) -> None:
    with JudgeProcess(task(pair[:1])) as judge:
        await_rows(judge)
        before, began = number(judge.order("status"), "acked"), time.monotonic()
        await_rows(judge, 100)
        rate = (number(judge.order("status"), "acked") - before) / (time.monotonic() - began)
    assert 50 < rate < 210


def test_an_acknowledged_row_that_was_deleted_is_lost(pair: list[PlainServer]) -> None:
    with JudgeProcess(task(pair[:1])) as judge:
        await_rows(judge)
        pair[0].run("DELETE FROM pgha_drill WHERE n = 7", dbname="pgha_drill")
        found = judge.order("end")
    assert (found["lost"], found["lost_first"], found["clean"]) == (1, [[1, 7]], False)


def test_a_row_that_was_doubled_is_found(pair: list[PlainServer]) -> None:
    with JudgeProcess(task(pair[:1])) as judge:
        await_rows(judge)
        pair[0].run("INSERT INTO pgha_drill SELECT * FROM pgha_drill WHERE n = 7", dbname="pgha_drill")
        assert judge.order("end")["duplicates"] == 1


def test_two_servers_that_both_accept_writes_are_two_writers(pair: list[PlainServer]) -> None:
    with JudgeProcess(task(pair)) as judge:
        until(lambda: all(_count(s) > 10 for s in pair), within_s=10, what="both acknowledge")
        found = judge.order("end")
    assert number(found, "two_writers") > 10
    assert found["clean"] is False


def test_an_outage_of_known_length_is_measured(pair: list[PlainServer]) -> None:
    with JudgeProcess(task(pair[:1])) as judge:
        await_rows(judge)
        judge.order("begin")
        await_rows(judge)  # else the last row before the fault may lie before the window
        at_s = judge.now_s()
        judge.order("fault", label="stop", at_s=at_s)
        pair[0].kill()
        down_s = judge.now_s()
        time.sleep(0.7)  # the planted outage
        up_s = judge.now_s()
        pair[0].start()
        ready_s = judge.now_s()
        await_rows(judge)
        found = judge.order("end")
    assert up_s - down_s <= number(found, "outage_s") <= ready_s - at_s + 0.5
    assert found["lost"] == 0
    faults = found["faults"]
    assert isinstance(faults, list)
    assert faults[0]["outage_s"] == found["outage_s"]


def test_a_commit_that_came_back_with_a_warning_is_not_acknowledged(pair: list[PlainServer]) -> None:
    server = pair[0]
    with JudgeProcess(task(pair[:1])) as judge:
        await_rows(judge)
        server.run("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (nobody)'", "SELECT pg_reload_conf()")
        try:
            waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            until(lambda: bool(server.run(waiting)), within_s=10, what="a commit waits for a standby")
            until(lambda: number(judge.order("verdict"), "unsure") >= 1, within_s=10, what="the warning came")
        finally:
            server.run("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        found = judge.order("end")
    assert number(found, "acked") < _count(server) <= number(found, "acked") + number(found, "unsure")
    assert found["lost"] == 0


def test_a_standby_is_no_writer_and_becomes_one_by_promotion(pair: list[PlainServer]) -> None:
    primary = pair[0]
    standby = PlainServer("n3", primary.root.parent / "n3", free_ports(1)[0])
    try:
        standby.clone_from(primary)
        primary.make_slots(["n3"])
        standby.start()
        until(lambda: primary.streaming("n3"), within_s=10, what="n3 streams")
        with JudgeProcess(task([primary, standby])) as judge:
            await_rows(judge)
            assert judge.order("status")["node"] == "n1"
            primary.stop()
            standby.run("SELECT pg_promote()")
            until(lambda: judge.order("status")["node"] == "n3", within_s=10, what="n3 acknowledges")
            found = judge.order("end")
        assert (found["clean"], found["epochs"], found["survivor"]) == (True, [1, 2], "n3")
    finally:
        standby.kill()
        primary.start()
        primary.run("SELECT pg_drop_replication_slot('n3')")


def test_a_task_that_is_not_complete_is_refused() -> None:
    with pytest.raises(JudgeGone, match="refused its task"):
        JudgeProcess({"nodes": []})


def test_a_wrong_password_is_told_and_nothing_is_acknowledged(pair: list[PlainServer]) -> None:
    with JudgeProcess({**task(pair[:1]), "password": "wrong"}) as judge:
        until(lambda: "n1" in str(judge.order("status")["problems"]), within_s=10, what="the refusal is told")
        status = judge.order("status")
        assert "password authentication failed" in str(status["problems"])
        assert status["acked"] == 0
        assert judge.order("end")["lost"] is None


def test_the_judge_that_was_killed_is_not_believed(pair: list[PlainServer]) -> None:
    judge = JudgeProcess(task(pair[:1]))
    try:
        await_rows(judge)
        judge._child.kill()
        with pytest.raises(JudgeGone):
            judge.order("end")
    finally:
        judge.close()


def test_the_roles_verifier_lets_that_password_in_and_no_other(pair: list[PlainServer]) -> None:
    verifier = scram_verifier("a quiet word", b"salt-of-16-bytes")
    pair[0].run(f"CREATE ROLE quiet LOGIN PASSWORD '{verifier}'")
    try:
        for password, sqlstate in (("a quiet word", ""), ("a loud word", "08001")):
            target = Target("n1", "127.0.0.1", pair[0].port, "quiet", "postgres", password)
            assert ask_all(target, ["SELECT 1"], within_s=5.0)[-1].sqlstate == sqlstate
    finally:
        pair[0].run("DROP ROLE quiet")


def test_statements_end_at_the_first_problem_and_in_time(pair: list[PlainServer]) -> None:
    target = Target("n1", "127.0.0.1", pair[0].port, "pgha_drill", "pgha_drill", DRILL_PASSWORD)
    answers = ask_all(target, ["SELECT 1", "SELECT 1/0", "SELECT 2"], within_s=5.0)
    assert [a.sqlstate for a in answers] == ["", "22012"]
    began = time.monotonic()
    late = ask_all(target, ["SELECT pg_sleep(30)"], within_s=0.5)
    assert late[-1].problem.startswith(f"no answer within its time while {Phase.BUSY.value}")
    assert time.monotonic() - began < 1.5


def test_what_the_drill_made_can_be_removed_and_removed_again(pair: list[PlainServer]) -> None:
    pair[1].run(*drop_sql())
    pair[1].run(*drop_sql())
    try:
        assert pair[1].run("SELECT count(*) FROM pg_roles WHERE rolname = 'pgha_drill'") == [(0,)]
    finally:
        first, second = make_sql(scram_verifier(DRILL_PASSWORD, b"0123456789abcdef"))
        pair[1].run(*first)
        pair[1].run(*second, dbname="pgha_drill")


def _count(server: PlainServer) -> int:
    return int(str(server.run("SELECT count(*) FROM pgha_drill", dbname="pgha_drill")[0][0]))
