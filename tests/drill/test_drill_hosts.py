"""A drill's hand on hosts: what is sent there and in which order, what a lost connection means, what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pgha.errors import Refused, Unreachable
from pgha.host import Host, Ran
from pgha.ops import drill_main
from pgha.ops.drill_hosts import BACK_S, HostGround, Way
from pgha.ops.host_nodes import HostNode
from tests.ops.stand_in import Clock

NODES = [HostNode(f"n{i}", "shop", f"192.0.2.{10 + i}", 5432, "/var/lib/pgha/shop/data", 2379, 2380) for i in (1, 2, 3)]
OLD = "/opt/pgha/current/bin/python: No module named pgha.ops.drill_main"


class FakeHost:
    """One host as root: answers from a list, notes what it is told."""

    def __init__(self, told: list[str], answers: list[Ran]) -> None:
        self.user, self._told, self._answers = "root", told, answers

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        """The next answer; nothing special when there is none."""
        self._told.append(argv[4] if "-m" in argv else argv[0])
        answer = self._answers.pop(0) if self._answers else Ran(0, '{"problem": ""}')
        if answer.code == 255:
            raise Unreachable("the connection is lost")
        return answer

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """The order."""
        self._told.append(f"{path} {json.loads(text)['fault']}")


class FakeRemote:
    """A connection."""

    def __init__(self, address: str, host: FakeHost) -> None:
        self.address, self.user, self._host = address, "admin", host

    def as_user(self, user: str) -> Host:
        """Whoever."""
        return self._host  # type: ignore[return-value]  # as much of a host as the drill needs

    def send(self, user: str, argv: Sequence[str], data: bytes, *, timeout_s: float) -> Ran:
        """Not used."""
        raise AssertionError(argv)

    def close(self) -> None:
        """It notes nothing."""


def ground(told: list[str], answers: list[Ran], clock: Clock | None = None) -> HostGround:
    """Three hosts that share one list of answers."""
    host = FakeHost(told, answers)
    way = Way(lambda address: FakeRemote(address, host), 22, (2379,), "cron")
    return HostGround(NODES, way, clock or Clock())


def test_every_node_is_asked_whether_it_can_take_the_fault_back() -> None:
    told: list[str] = []
    ground(told, []).ready("cut-node")
    assert told == ["/run/pgha-drill-shop.json cut-node", "ready", "rm"] * 3


def test_the_order_is_there_before_the_fault_begins() -> None:
    told: list[str] = []
    ground(told, []).inflict("stop-agent", "n1", 96.0, lambda: told.append("begun"))
    assert told == ["/run/pgha-drill-shop.json stop-agent", "begun", "inflict"]


def test_an_older_pgha_on_a_node_is_refused_with_the_way_on() -> None:
    with pytest.raises(Refused) as refused:
        ground([], [Ran(1, err=OLD)]).ready("kill-node")
    assert refused.value.next_step == "pgha bootstrap"


def test_what_the_node_says_is_what_the_operator_reads() -> None:
    said = json.dumps({"problem": "n1 has no nft, which cut-node needs\n\non 192.0.2.11: apt install nftables"})
    with pytest.raises(Refused) as refused:
        ground([], [Ran(1, said)]).ready("cut-node")
    assert refused.value.lines() == [
        "error: n1 has no nft, which cut-node needs",
        "next: on 192.0.2.11: apt install nftables",
    ]


def test_a_host_that_was_reset_is_tried_until_it_lets_us_in_and_not_for_ever() -> None:
    told: list[str] = []
    ground(told, [Ran(255)] * 5).take_back("n1")
    assert told == ["back"] * 6
    clock = Clock()
    began_s = clock.now_s()
    with pytest.raises(Unreachable):
        ground([], [Ran(255)] * 1000, clock).take_back("n1")
    assert clock.now_s() - began_s <= BACK_S + 2.0


def test_an_order_is_read_as_it_was_written_and_nothing_is_done_for_one_that_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "order.json"
    assert drill_main.main(["back", str(path)]) == 0
    path.write_text('{"fault": 1}')
    assert drill_main.main(["inflict", str(path)]) == 2
    assert "can't be read" in json.loads(capsys.readouterr().out)["problem"]


def test_a_words_dollar_reaches_the_timers_command_as_it_is() -> None:
    assert drill_main._soon("5s", "sh", "a$b", unit="u")[-1] == "a$$b"
