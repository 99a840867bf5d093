"""A seal is taken where all that was received is replayed, also when it came on a newer timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pgha.adapters.server_seal import UNREAD_S, Sealing
from pgha.core.model import Position
from pgha.pg import look
from pgha.ports import ServerTrouble

WAITS = "RecoveryRetrieveRetryInterval"


@dataclass
class Server:
    """Clock, connection and session in one. Received beyond the fork is replayed at `replays_s`, if at all.

    conninfo: what connections opened so far show, one each, then an empty one.
    """

    received: str = "0/100"
    replays_s: float = 0.0
    conninfo: list[str] = field(default_factory=list)
    event: str = WAITS
    recovery: str = "t"
    paused: str = "f"
    at_s: float = 50.0
    told: list[str] = field(default_factory=list)

    def now_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds

    def connect(self, *, deadline_s: float, replication: str) -> Server:
        assert replication == "database" and deadline_s > self.at_s
        return self

    def query(self, sql: str, *, deadline_s: float) -> list[Sequence[str | None]]:
        if sql == look.SEALED:
            shown = self.conninfo.pop(0) if self.conninfo else ""
            return [[shown, self.recovery, self.event, self.paused, self.received or None]]
        assert sql == "IDENTIFY_SYSTEM"
        if self.replays_s and self.at_s >= self.replays_s:
            return [["77", "13", self.received, None]]
        return [["77", "12", "0/100", None]]

    def sql(self, text: str, *, deadline_s: float) -> None:
        self.told.append(text.split()[1].split("(")[0])

    def close(self) -> None:
        return

    def position(self, within_s: float = 2.0) -> Position | None:
        """What the adapter makes of it."""
        return Sealing(self, connect=self.connect, sql=self.sql).position(self.at_s + within_s)  # type: ignore[arg-type]


@pytest.mark.parametrize("received", ["", "0/80", "0/100"])
def test_with_nothing_received_beyond_it_the_position_stands_at_once(received: str) -> None:
    server = Server(received=received)
    assert server.position() == Position(12, 0x100) and server.at_s == 50.0


def test_wal_of_a_newer_timeline_that_waits_to_be_read_belongs_to_the_seal() -> None:
    server = Server(received="0/180", replays_s=50.09)
    assert server.position() == Position(13, 0x180)
    assert server.at_s < 50.11, "as soon as it is replayed"


def test_what_no_interval_replays_is_no_whole_record() -> None:
    server = Server(received="0/180")
    assert server.position() == Position(12, 0x100)
    assert 50.0 + UNREAD_S <= server.at_s < 50.01 + UNREAD_S


def test_before_the_reload_is_seen_or_while_it_still_replays_nothing_is_measured() -> None:
    assert Server(conninfo=["host=n2"]).position() == Position(12, 0x100)
    assert Server(event="RecoveryWalStream").position() is None
    assert Server(conninfo=["host=n2"] * 9999).position() is None


def test_what_holds_replay_up_is_ended_and_a_primary_is_none() -> None:
    held = Server(event="RecoveryConflictSnapshot", paused="t")
    assert held.position(0.003) is None
    assert {"pg_wal_replay_resume", "pg_terminate_backend"} == set(held.told)
    with pytest.raises(ServerTrouble, match="no standby"):
        Server(recovery="f").position()
