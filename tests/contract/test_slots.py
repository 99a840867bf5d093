"""Slots for WAL on real servers: each member's is there, and holds WAL only where its node streams from."""

from __future__ import annotations

import pytest

from pgha.pg import look
from tests.contract.real_servers import Scene, alter, cut, one
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(120)]

HOLDING = "SELECT string_agg(slot_name, ',' ORDER BY slot_name) FROM pg_replication_slots WHERE restart_lsn IS NOT NULL"
THERE = "SELECT string_agg(slot_name, ',' ORDER BY slot_name) FROM pg_replication_slots"


def test_a_slot_that_nobody_uses_and_nobody_needs_here_is_made_anew_without_wal(servers: Scene) -> None:
    primary = servers.primary()
    middle = servers.standby(primary)
    last = servers.standby(middle)
    making, dropping = look.slots(["pgha_a", "pgha_b"], held=["pgha_b"])
    for server in (primary, middle):
        one(server, "SELECT pg_create_physical_replication_slot('pgha_gone')")
        one(server, "SELECT pg_create_physical_replication_slot('mine', true)")
        for name in ("pgha_a", "pgha_b"):
            one(server, f"SELECT pg_create_physical_replication_slot('{name}', true)")
        one(server, f"SELECT count(*) FROM ({dropping}) x")
        one(server, f"SELECT count(*) FROM ({making}) x")
        others = {middle.name, last.name}
        assert set(one(server, THERE).split(",")) - others == {"mine", "pgha_a", "pgha_b"}
        assert set(one(server, HOLDING).split(",")) - others == {"mine", "pgha_b"}


@pytest.mark.assumption("PG19")
def test_a_reply_to_a_standby_counts_for_nobody_and_who_is_ahead_of_it_waits_there(servers: Scene) -> None:
    primary = servers.primary()
    middle, last = servers.standby(primary), servers.standby(primary)
    middle.make_slots([last.name])
    for server in (primary, middle):
        alter(server, synchronous_standby_names=f'ANY 1 ("{last.name}")')
    cut(middle)
    servers.commit(primary, "only one has it").done(10)
    alter(last, primary_conninfo=last.conninfo_to(middle))
    waits = servers.waits(primary, "nobody confirms it")
    alter(middle, primary_conninfo=middle.conninfo_to(primary))
    until(lambda: middle.streaming(last.name), within_s=20, what="it goes on once the other one has as much")
    assert one(middle, "SELECT max(sync_priority) FROM pg_stat_replication") == "0"
    assert not waits.done(1.0), "what is behind a standby confirms nothing"
