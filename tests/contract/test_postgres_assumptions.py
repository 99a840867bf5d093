"""What the simulator's fake of PostgreSQL takes for granted, shown of the real one (tests/sim/assumptions.py)."""

from __future__ import annotations

import signal
import threading
import time

import psycopg
import pytest

from pgha.adapters.server_senders import walsenders
from pgha.core.voters import barrier
from tests.contract.real_servers import (
    WAITS_S,
    Scene,
    alter,
    cut,
    flushed,
    identify,
    log_says,
    number,
    one,
    output,
    process_of,
    promote,
    sealed,
    stopped,
    written,
)
from tests.support.postgres_pair import PlainServer, until

pytestmark = [pytest.mark.loopback, pytest.mark.slow, pytest.mark.timeout(120)]


def history(server: PlainServer, number: int, text: str = "") -> None:
    """A timeline history file in its pg_wal."""
    server.write(f"pg_wal/{number:08X}.history", text)


@pytest.mark.deep
@pytest.mark.assumption("PG01")
def test_a_diverged_follower_confirms_commits_that_it_never_received(servers: Scene) -> None:
    old = servers.primary()
    new = servers.standby(old)
    old.run("INSERT INTO told VALUES ('both have it')")  # so that the fork lies within a segment
    until(lambda: flushed(old, "n2") == written(old), within_s=10, what="n2 has it")
    cut(new)
    old.run("INSERT INTO told SELECT repeat('x', 500) FROM generate_series(1, 500)")
    old.stop()
    promote(new)
    new.run("CHECKPOINT")
    new.make_slots(["n1"])
    alter(new, synchronous_standby_names='ANY 1 ("n1")')
    servers.waits(new, "before")
    old.follow(new)
    old.start()
    assert servers.commit(new, "never received").done(20), "nobody acknowledged it"
    assert written(new) < identify(old)[1] and old.run("SELECT 1 FROM told WHERE word = 'never received'") == []


@pytest.mark.assumption("PG02")
def test_an_emptied_conninfo_is_no_cut_while_replay_is_held_up_and_is_one_in_the_retry_state(servers: Scene) -> None:
    primary = servers.primary()
    standby = servers.standby(primary)
    alter(primary, synchronous_standby_names='ANY 1 ("n2")')
    standby.run("SELECT pg_wal_replay_pause()")
    until(lambda: one(standby, "SELECT pg_get_wal_replay_pause_state()") != "not paused", within_s=5, what="it pauses")
    assert servers.commit(primary, "wakes it").done(5)
    until(
        lambda: one(standby, "SELECT pg_get_wal_replay_pause_state()") == "paused", within_s=5, what="replay is paused"
    )
    alter(standby, primary_conninfo="")
    assert servers.commit(primary, "after the cut").done(5), "it is cut off although replay is held up"
    standby.run("SELECT pg_wal_replay_resume()")
    until(lambda: sealed(standby), within_s=10, what="the retry state")
    before = identify(standby)
    servers.waits(primary, "after the retry state")
    assert identify(standby) == before


@pytest.mark.assumption("PG03")
def test_a_restarted_standby_knows_its_end_by_identify_system_only(servers: Scene) -> None:
    primary = servers.primary()
    standby = servers.standby(primary)
    primary.run("INSERT INTO told SELECT 'x' FROM generate_series(1, 1000)")
    until(lambda: flushed(primary, "n2") == written(primary), within_s=10, what="all is confirmed")
    confirmed = flushed(primary, "n2")
    standby.kill()
    standby.write("postgresql.auto.conf", "")
    standby.start()
    until(lambda: sealed(standby), within_s=10, what="the retry state")
    assert number(standby, "SELECT pg_last_wal_receive_lsn()") < confirmed
    assert identify(standby)[1] >= confirmed


@pytest.mark.assumption("PG04")
def test_names_that_every_session_shows_bind_nobody_before_the_checkpointer_has_them(servers: Scene) -> None:
    primary = servers.primary()
    alter(primary, synchronous_standby_names="")
    assert servers.commit(primary, "free").done(5)
    with stopped(process_of(primary, "checkpointer")):
        alter(primary, synchronous_standby_names='ANY 1 ("nobody")')
        assert servers.commit(primary, "shown and not in force").done(5)
    primary.run("SELECT pg_sleep(0.3)")
    servers.waits(primary, "in force")


@pytest.mark.assumption("PG05")
def test_under_the_barriers_name_every_walsender_counts_for_nothing_and_commits_wait(servers: Scene) -> None:
    primary = servers.primary()
    servers.standby(primary)
    priority = "SELECT sync_priority FROM pg_stat_replication"
    alter(primary, synchronous_standby_names='ANY 1 ("n2")')
    until(lambda: one(primary, priority) == "1", within_s=5, what="n2 is a voter")
    assert servers.commit(primary, "voted").done(5)
    alter(primary, synchronous_standby_names=barrier())
    until(lambda: one(primary, priority) == "0", within_s=5, what="nobody is")
    commit = servers.waits(primary, "nobody may confirm")
    event = f"SELECT wait_event FROM pg_stat_activity WHERE pid = {commit.pid}"
    assert one(primary, event) == "SyncRep"


@pytest.mark.assumption("PG06")
def test_a_promotion_takes_the_first_number_without_a_history_file(servers: Scene) -> None:
    primary = servers.primary()
    plain, steered = servers.standby(primary), servers.standby(primary)
    primary.stop()
    cut(plain)
    cut(steered)
    for skipped in (2, 3, 4):
        history(steered, skipped)
    assert (promote(plain), promote(steered)) == (2, 5)


@pytest.mark.assumption("PG07")
def test_a_clone_brings_along_any_file_of_its_source(servers: Scene) -> None:
    primary = servers.primary()
    primary.write("pgha-id", "d1")
    assert (servers.standby(primary).data / "pgha-id").read_text() == "d1"


@pytest.mark.assumption("PG08")
def test_a_rewind_before_the_sources_first_checkpoint_does_nothing_up_to_15(servers: Scene) -> None:
    old = servers.primary()
    new = servers.standby(old)
    cut(new)
    old.run("INSERT INTO told VALUES ('only here')")
    old.stop()
    with stopped(process_of(new, "checkpointer")):
        promote(new)
        source = f"--source-server=host={new.root} port={new.port} user=postgres dbname=postgres"
        said = output(old, "pg_rewind", "-D", str(old.data), source)
    assert ("no rewind required" in said) == (servers.major < 16), said


@pytest.mark.assumption("PG09", "PG15")
def test_after_a_change_of_names_only_a_reply_releases_who_waits_and_empty_names_release_at_once(
    servers: Scene,
) -> None:
    primary = servers.primary()
    standby = servers.standby(primary)
    alter(standby, wal_receiver_status_interval="20s")
    alter(primary, synchronous_standby_names=barrier())
    primary.run("SELECT pg_sleep(0.3)")
    waiting = servers.waits(primary, "waits for a reply")
    until(lambda: flushed(primary, "n2") == written(primary), within_s=5, what="n2 has it and has said so")
    alter(primary, synchronous_standby_names='ANY 1 ("n2")')
    assert not waiting.done(WAITS_S), "somebody released it without a reply"
    primary.run("SET synchronous_commit = local", "INSERT INTO told VALUES ('nudge')")
    assert waiting.done(5)
    alter(primary, synchronous_standby_names=barrier())
    primary.run("SELECT pg_sleep(0.3)")
    waiting = servers.waits(primary, "waits for nobody")
    alter(primary, synchronous_standby_names="")
    assert waiting.done(5)


@pytest.mark.assumption("PG10")
def test_a_reader_in_conflict_holds_up_a_promotion_for_as_long_as_it_stays(servers: Scene) -> None:
    primary = servers.primary()
    standby = servers.standby(primary)
    alter(standby, max_standby_streaming_delay="-1")
    primary.run("INSERT INTO told SELECT 'x' FROM generate_series(1, 100)")
    until(lambda: flushed(primary, "n2") == written(primary), within_s=5, what="n2 has it")
    with standby.connect() as reader:
        reader.autocommit = False
        until(lambda: _rows(reader) == 100, within_s=5, what="the rows are seen")
        primary.run("DELETE FROM told", "VACUUM told")
        event = "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'"
        until(lambda: one(standby, event).startswith("RecoveryConflict"), within_s=10, what="replay is in conflict")
        primary.stop()
        standby.run("SELECT pg_promote(false)")
        time.sleep(1.0)
        assert one(standby, "SELECT pg_is_in_recovery()") == "True"
        reader.rollback()
    until(lambda: one(standby, "SELECT pg_is_in_recovery()") == "False", within_s=10, what="it is promoted")


def _rows(reader: psycopg.Connection[tuple[object, ...]]) -> int:
    """In a snapshot that stays, once there are some."""
    reader.rollback()
    reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    row = reader.execute("SELECT count(*) FROM told").fetchone()
    return int(str(row[0])) if row else 0


@pytest.mark.assumption("PG11")
def test_a_fast_stop_is_over_on_disk_while_the_postmaster_waits_for_a_standby(servers: Scene) -> None:
    primary = servers.primary()
    standby = servers.standby(primary)
    assert primary.process is not None
    with stopped(process_of(standby, "walreceiver")):
        primary.signal(signal.SIGINT)
        until(lambda: primary.control_state() == 1, within_s=4, what="pg_control says shut down")
        time.sleep(0.5)
        assert primary.process.poll() is None, "nobody was waited for"
        assert walsenders(primary.process.pid) == 1, "it ends only once its standby has all"
        with pytest.raises(psycopg.OperationalError, match="shutting down"):
            primary.run("CHECKPOINT")
    assert primary.process.wait(10) == 0
    assert walsenders(primary.process.pid) is None


@pytest.mark.assumption("PG12")
def test_a_standby_aims_for_ever_at_a_timeline_that_was_given_up_until_it_is_restarted(servers: Scene) -> None:
    primary = servers.primary()
    new, standby = servers.standby(primary), servers.standby(primary)
    primary.stop()
    cut(standby)
    cut(new)
    assert identify(standby) == identify(new)
    fork = one(standby, "SELECT pg_last_wal_replay_lsn()")
    history(standby, 2, f"1\t{fork}\tno recovery target specified\n")  # as fetched from a claimant that died
    until(log_says(standby, "new target timeline is 2"), within_s=10, what="it aims at 2")
    history(new, 2)
    assert promote(new) == 3
    new.make_slots([standby.name])
    alter(standby, primary_conninfo=standby.conninfo_to(new))
    refused = "requested timeline 2 is not in this server's history"
    until(log_says(new, refused), within_s=10, what="it asks for 2")
    until(log_says(standby, "new timeline 3 is not a child"), within_s=10, what="3 is none of its children")
    time.sleep(1.0)
    assert not new.streaming(standby.name)
    standby.stop()
    standby.start()
    until(lambda: new.streaming(standby.name), within_s=10, what="after its restart it follows")


@pytest.mark.assumption("PG13")
def test_a_history_file_that_is_missing_on_the_sender_stops_its_follower(servers: Scene) -> None:
    primary = servers.primary()
    new, standby = servers.standby(primary), servers.standby(primary)
    primary.stop()
    cut(new)
    history(new, 2)
    assert promote(new) == 3
    (new.data / "pg_wal/00000002.history").unlink()
    new.make_slots([standby.name])
    alter(standby, primary_conninfo=standby.conninfo_to(new))
    until(log_says(standby, "00000002.history"), within_s=10, what="the file is missed")
    time.sleep(0.5)
    assert not new.streaming(standby.name)
    history(new, 2)
    until(lambda: new.streaming(standby.name), within_s=10, what="with the file it follows")


@pytest.mark.assumption("PG14")
def test_backends_whose_postmaster_was_killed_go_on_committing(servers: Scene) -> None:
    primary = servers.primary()
    acknowledged: list[float] = []

    def write() -> None:
        end = time.monotonic() + 1.5
        with primary.connect() as connection:
            begun.set()
            while time.monotonic() < end:
                connection.execute("INSERT INTO told SELECT 'x' FROM generate_series(1, 20000)")
                acknowledged.append(time.monotonic())

    begun = threading.Event()
    writers = [threading.Thread(target=_until_refused, args=(write,)) for _ in range(4)]
    for writer in writers:
        writer.start()
    assert begun.wait(10)
    time.sleep(0.3)
    primary.signal(signal.SIGKILL)
    killed = time.monotonic()
    for writer in writers:
        writer.join(20)
    assert any(at > killed for at in acknowledged), "all ended with their postmaster"


def _until_refused(write: object) -> None:
    """A backend that waits for a moment notices, and hangs up."""
    assert callable(write)
    try:
        write()
    except psycopg.OperationalError:
        return


@pytest.mark.deep
@pytest.mark.assumption("PG16")
def test_who_streams_from_a_standby_stays_connected_through_its_promotion(servers: Scene) -> None:
    primary = servers.primary()
    new = servers.standby(primary)
    follower = servers.standby(new)
    sender = "SELECT pid FROM pg_stat_replication WHERE state = 'streaming'"
    before = one(new, sender)
    primary.stop()
    cut(new)
    assert promote(new) == 2
    until(lambda: identify(follower)[0] == 2, within_s=10, what="it went on to the new timeline")
    until(lambda: one(new, sender) != "", within_s=10, what="it streams there")
    assert one(new, sender) == before
