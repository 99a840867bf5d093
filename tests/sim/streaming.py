"""Physical replication between two servers: a walsender, a walreceiver and what is under way between them.

The first reply of a walreceiver reports its own position, also when it has diverged (PG01). Reports arrive late, also
after the connection is gone at the other end. A cut link holds everything up; after five seconds each end gives up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.sim import recovery
from tests.sim.postgres import BARRIER, SENDER_TIMEOUT_S, Names, SimPg, State
from tests.sim.wal import Branch, limit_on

if TYPE_CHECKING:
    from tests.sim.node import Node

RETRY_S = (0.08, 0.25)


class Stream:
    """One connection. `name` is its application_name."""

    def __init__(self, sender: SimPg, receiver: SimPg, name: str) -> None:
        assert receiver.data is not None and sender.data is not None
        self.sender, self.receiver, self.name = sender, receiver, name
        self.world = sender.world
        self.open_here = {sender: True, receiver: True}
        self.lives = {sender: sender.life, receiver: receiver.life}
        self.heard = {sender: self.world.now, receiver: self.world.now}
        self.streaming = False
        self.flushed = 0
        self.rule = Names.of(sender.names_text) if sender.state is State.PRIMARY else BARRIER  # PG19
        self.diverged = _reaches(receiver, sender) is None
        self.flying = True
        self._held: list[tuple[SimPg, SimPg, Callable[[], None]]] = []
        sender.senders.append(self)
        receiver.receiver = self
        self._greets()
        self._look_after()

    def _greets(self) -> None:
        """The walreceiver has the history files; the startup process looks at them, and the first report goes out."""
        receiver, sender = self.receiver, self.sender
        assert receiver.data is not None
        receiver.later(self.world.span(0.0002, 0.005), recovery.rescan, receiver)
        lsn = receiver.data.lsn
        delay = self.world.span(0.0005, 0.006, tail=0.05, upto=0.3)
        receiver.later(delay, lambda: self._travel(receiver, sender, self._reported(lsn)))
        if sender.node.cluster.connected is not None:
            sender.node.cluster.connected(sender.node)

    def sender_promoted(self) -> None:
        """PG16: the connection stays; the old timeline ends, and the receiver asks for the next one over it."""
        self.streaming, self.flying = False, True
        self._travel(self.sender, self.receiver, self._next_timeline)

    def _next_timeline(self) -> None:
        receiver, sender = self.receiver, self.sender
        if sender.data is None or not recovery.fetch_histories(receiver, sender.data):
            self.drop(receiver, silently=False)
            return
        recovery.rescan(receiver)
        if not recovery.is_known(receiver, sender.data):
            self.drop(receiver, silently=False)
            return
        self._travel(receiver, sender, self.adopt)  # SyncRepInitConfig, with each START_REPLICATION
        self._greets()

    def confirmed(self, lsn: int) -> bool:
        """Has the walsender heard of this flush?"""
        return self.flushed >= lsn

    @property
    def counts(self) -> bool:
        """sync_priority > 0: by the configuration that this walsender has read."""
        return self.name in self.rule.members

    def adopt(self) -> None:
        """The walsender reads the configuration."""
        self.rule = Names.of(self.sender.names_text)

    # -- what travels --------------------------------------------------------------------------------------------

    def _alive(self, end: SimPg) -> bool:
        return self.open_here[end] and end.life == self.lives[end] and end.tree > 0

    def _travel(self, a: SimPg, b: SimPg, arrive: Callable[[], None]) -> None:
        if not a.node.cluster.links.up(a.node.name, b.node.name):
            self._held.append((a, b, arrive))
            return

        def due() -> None:
            if b.node.admit(due) and self._alive(b):
                arrive()

        moods = b.node.moods
        self.world.after(self.world.span(0.0003, 0.0015, tail=moods.late_reports, upto=1.0), due)

    def link_healed(self) -> None:
        """What was held up goes on."""
        held, self._held = self._held, []
        for a, b, arrive in held:
            self._travel(a, b, arrive)

    def pump(self) -> None:
        """Send what the receiver has not got, one message at a time."""
        sender = self.sender
        if self.flying or self.diverged or not self._alive(sender) or sender.data is None or sender.hung == "all":
            return
        branch, lsn = sender.data.branch, sender.data.lsn
        if self.flushed >= lsn:
            return
        self.flying = True
        self._travel(sender, self.receiver, lambda: self._deliver(branch, lsn))

    def _deliver(self, branch: Branch, lsn: int) -> None:
        data = self.receiver.data
        assert data is not None
        if not recovery.is_on(branch, self.receiver.target):
            recovery.rescan(self.receiver)
            if not recovery.is_on(branch, self.receiver.target):
                self.drop(self.receiver, silently=False)
                return
        if limit_on(branch, lsn, data.branch) is not None and data.lsn <= lsn:
            self.receiver.receive(branch, lsn)
        self._travel(self.receiver, self.sender, self._reported(data.lsn))

    def _reported(self, lsn: int) -> Callable[[], None]:
        def arrive() -> None:
            self.flushed = lsn
            if self.sender.data is not None and (self.diverged or lsn >= self.sender.data.lsn - 4096):
                self.streaming = True
            self.flying = False
            self.sender.release_by(self)
            self.pump()

        return arrive

    # -- the end -------------------------------------------------------------------------------------------------

    def drop(self, end: SimPg, *, silently: bool) -> None:
        """This end closes it. The other one hears of that, unless the link is cut or nobody could say it."""
        if not self.open_here[end]:
            return
        self.open_here[end] = False
        if end is self.sender:
            if self in end.senders:
                end.senders.remove(self)
            other = self.receiver
        else:
            if end.receiver is self:
                end.receiver = None
            other = self.sender
        if not silently and self.open_here[other]:
            self._travel(end, other, lambda: self.drop(other, silently=True))

    def _look_after(self) -> None:
        """Each end gives up when it has heard nothing for five seconds."""
        links, a, b = self.sender.node.cluster.links, self.sender, self.receiver
        for end, other in ((a, b), (b, a)):
            speaks = self._alive(other) and not other.node.held and other.hung != "all"
            if speaks and links.up(other.node.name, end.node.name) and links.up(end.node.name, other.node.name):
                self.heard[end] = self.world.now
            elif self.world.now - self.heard[end] > SENDER_TIMEOUT_S and not end.node.held:
                self.drop(end, silently=False)
        if any(self.open_here.values()):
            self.world.after(0.5, self._look_after)


def _reaches(receiver: SimPg, sender: SimPg) -> int | None:
    """Up to where the sender's WAL and the receiver's are one, when the receiver's lies wholly on it; else None."""
    mine, theirs = receiver.data, sender.data
    assert mine is not None and theirs is not None
    limit = limit_on(theirs.branch, theirs.lsn, mine.branch)
    return limit if limit is not None and mine.lsn <= limit else None


def try_to_connect(node: Node) -> None:
    """What a walreceiver does again and again while primary_conninfo is set."""
    pg = node.pg
    wants = pg.state in (State.STARTING, State.STANDBY) and not pg.stopping and pg.receiver is None
    if wants:
        recovery.rescan(pg)
    if wants and pg.upstream is not None and pg.data is not None:
        holder, name = pg.upstream
        there = node.cluster.nodes[holder].pg
        links = node.cluster.links
        carries = links.up(node.name, holder) and links.up(holder, node.name) and not there.node.held
        serves = there.state in (State.STANDBY, State.PRIMARY) and not there.stopping and not there.hung
        if carries and serves and there.data is not None and _accepted(pg, there):
            Stream(there, pg, name)
            node.trace("stream", f"from {holder} as {name}")
    node.world.after(node.world.span(*RETRY_S), _again, node)


def _again(node: Node) -> None:
    if node.admit(_again, node):
        try_to_connect(node)


def _accepted(pg: SimPg, there: SimPg) -> bool:
    """The slot is free, and the sender knows the timeline by its number (a tail beyond the fork is not noticed)."""
    assert pg.data is not None and there.data is not None
    if any(s.receiver is pg for s in there.senders):
        return False
    theirs, mine = there.data, pg.data
    if not recovery.fetch_histories(pg, theirs) or not recovery.is_known(pg, theirs):
        return False
    return mine.branch is not theirs.branch or mine.lsn <= theirs.lsn
