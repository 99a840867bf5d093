"""A fresh agent finds a server that runs: it is well until it has been asked, also while the store gives no answer."""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock

from pgha import nodefile
from pgha.core.classify import classify
from pgha.core.model import Position
from pgha.core.server import Running, ServerView
from pgha.core.situation import Server as Seen
from pgha.ports import GuardState, StoreDown
from pgha.watchdog.agent import Agent, Ports
from tests.ops.stand_in import Clock

NODE = nodefile.NodeFile(
    cluster="shop",
    node="n1",
    state_dir="/s",
    data_dir="/d",
    socket_dir="/r",
    bin_dir="/b",
    store=nodefile.StoreAccess(("192.0.2.11:2379",)),
    nodes={"n1": nodefile.Peer("192.0.2.11", 5432)},
)


@dataclass
class Outside:
    """Guard, store, memory and server: a writable server that answers, a store that does not."""

    clock: Clock
    closed: bool = False

    def state(self) -> GuardState:
        return GuardState("inc")

    def load(self) -> dict[str, object]:
        return {"schema": 1, "cluster": "c1", "epoch": 3, "claimed": 3}

    def read(self, prefix: str, *, deadline_s: float) -> None:
        raise StoreDown("no answer")

    def look(self) -> ServerView:
        now_s = self.clock.now
        return ServerView(Running.PRIMARY, Position(3, 100), answered_s=now_s, since_s=now_s - 900.0)

    def identity(self) -> None:
        return None


def test_a_server_that_answers_is_not_hung_because_a_fresh_agent_has_not_probed_it() -> None:
    clock = Clock()
    clock.now = 1000.0
    outside = Outside(clock)
    ports = Ports(
        store=outside,  # type: ignore[arg-type]
        clock=clock,
        link=outside,  # type: ignore[arg-type]
        server=outside,  # type: ignore[arg-type]
        keep=outside,  # type: ignore[arg-type]
        wall=lambda: 0.0,
        new_id=lambda: "aa",
        new_lock=RLock,
        parameters=outside,  # type: ignore[arg-type]
        say=lambda _facts: None,
    )
    agent = Agent(NODE, ports, "0")
    clock.now += 0.5
    agent.read_store()
    assert classify(agent.observe()).server is Seen.PRIMARY
    clock.now += agent.timing.health_fresh_s
    assert classify(agent.observe()).server is Seen.HUNG, "without a good verdict for so long it is"
