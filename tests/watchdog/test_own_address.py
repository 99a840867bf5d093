"""A holder whose host has lost its address hands over, as long as somebody could take over."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace
from typing import Self, cast

import pytest

from pgha.adapters.own_address import OwnAddress
from pgha.core.model import Leader, Rule, Tenure
from pgha.core.observation import Tenancy
from pgha.core.timing import timing_for
from pgha.watchdog import act, reach
from pgha.watchdog.agent import Agent
from tests.core.builders import EPOCH, N1, N2, NOW, but, key, standby
from tests.ops.stand_in import Clock

HERE, ELSEWHERE = "127.0.0.1", "192.0.2.1"  # of documentation: nobody's


class Kernel:
    """What socket.socket gives: `refuses` is the error of each bind, 0 for none."""

    def __init__(self) -> None:
        self.refuses = 0

    def __call__(self, _family: int, _kind: int) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_what: object) -> None:
        return

    def bind(self, _address: tuple[str, int]) -> None:
        if self.refuses:
            raise OSError(self.refuses, "refused")


def test_an_address_that_is_there_is_not_missed_and_one_that_never_was_is_not_either() -> None:
    clock = Clock()
    assert OwnAddress(HERE, clock).gone_since_s() is None
    assert OwnAddress(ELSEWHERE, clock).gone_since_s() is None, "it may be translated on the way"
    assert OwnAddress("n1.example.net", clock).gone_since_s() is None
    with pytest.raises(OSError, match="assign"), socket.socket() as one:
        one.bind((ELSEWHERE, 0))


def test_an_address_that_goes_is_missed_from_the_first_look_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kernel = Clock(), Kernel()
    monkeypatch.setattr("pgha.adapters.own_address.socket.socket", kernel)
    own = OwnAddress("2001:db8::1", clock)
    assert own.gone_since_s() is None
    kernel.refuses, clock.now, since_s = errno.EADDRNOTAVAIL, clock.now + 5, clock.now + 5
    assert own.gone_since_s() == since_s
    clock.now += 5
    assert own.gone_since_s() == since_s
    kernel.refuses = errno.EMFILE
    assert own.gone_since_s() is None, "that says nothing of the address"


VOTED = key(N1, sync=(Rule(N1, frozenset({N2}), 1),))


def well(leader: Leader | None, *, gone_s: float | None, sent_s: float = NOW) -> bool:
    """Whether the holder's last good verdict stands after a look."""
    lease = SimpleNamespace(held=lambda: (leader, 7, Tenancy(EPOCH, sent_s, NOW - 90)))
    clock = Clock()
    clock.now = NOW
    notes = SimpleNamespace(health_s=NOW, ailment="")
    ports = SimpleNamespace(address_gone_s=lambda: gone_s, clock=clock)
    node = SimpleNamespace(me=SimpleNamespace(host=HERE))
    reach.look(cast("Agent", SimpleNamespace(ports=ports, lease=lease, notes=notes, node=node, timing=timing_for(6.0))))
    assert bool(notes.ailment) is (notes.health_s < NOW - timing_for(6.0).health_fresh_s)
    return bool(notes.health_s == NOW)


def test_it_goes_once_a_renewal_went_out_without_the_address() -> None:
    assert well(VOTED, gone_s=None)
    assert well(VOTED, gone_s=NOW), "the store may be out of reach as well"
    assert not well(VOTED, gone_s=NOW - 0.1)


@pytest.mark.parametrize(
    "leader",
    [
        None,
        but(VOTED, sync=()),
        but(VOTED, sync=(*VOTED.sync, Rule(N1, frozenset(), 0))),
        but(VOTED, tenure=Tenure.CLAIMED),
    ],
)
def test_without_voters_and_before_it_writes_it_stays(leader: Leader | None) -> None:
    assert well(leader, gone_s=NOW - 0.1)


def test_without_the_address_no_start_is_tried_and_none_is_counted_as_failed() -> None:
    clock = Clock()
    tried: list[float] = []
    clock.now = NOW
    notes = SimpleNamespace(starts=SimpleNamespace(began=tried.append), problem="", start_after_s=0.0)
    ports = SimpleNamespace(address_gone_s=lambda: NOW - 5.0, clock=clock)
    node = SimpleNamespace(me=SimpleNamespace(host=HERE))
    act.start(cast("Agent", SimpleNamespace(ports=ports, notes=notes, node=node)), standby(tenancy=Tenancy()))
    assert not tried and HERE in notes.problem and notes.start_after_s == NOW + act.ADDRESS_S
