"""The invariants, one for each layer, so that no layer hides another. They see everything and are seen by nobody.

I1 quorum durability   I2 acknowledgements never go back   I3 one writer   I4 the lease's end   I5 epochs   I6 seals
I7 rules in force and `sync`   I8 release only after the end   I9 reasons   I10 no exception in a loop   I11 liveness
I12 what is lost where nothing is promised, or an operator gave it up, is no more than was said   I13 pause
I14 orders for later

With an empty `sync` (async) I1 and I7 ask for nothing, I2 for clocks that don't lie.
strict: nothing is acknowledged by the holder alone.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from pgha import records
from pgha.core import cover
from pgha.core.model import Copy, Leader, Member, Order, Rule, Tenure, parse_standby_name
from pgha.core.timing import timing_for
from pgha.errors import Refused
from pgha.ports import Entry, Guard, ServerTrouble, Write
from pgha.records import Problem
from tests.sim.later import PlanChecks
from tests.sim.operators import broken
from tests.sim.postgres import Names, Row, State
from tests.sim.wal import Branch, limit_on
from tests.sim.world import World

if TYPE_CHECKING:
    from tests.sim.node import Node

MAX_LAG = 600  # bytes, the setting: a few rows
EXPECTED = (ConnectionError, Refused, ServerTrouble)  # a loop survives these by its own `except`


@lru_cache(maxsize=1024)
def copies_of(rule: Names) -> frozenset[Copy]:
    """The data copies that a server's own setting names."""
    return frozenset(parsed[0] for n in rule.members if (parsed := parse_standby_name(n)))


class Checks:
    """All that must hold, while it runs."""

    def __init__(self, world: World, h_s: float, durability: str = "quorum") -> None:
        self.world, self.timing = world, timing_for(h_s)
        self.plans = PlanChecks(world)
        self.durability = durability
        self.was_async = durability == "async"  # at any time: then a claim may give the promises up
        self.last_sync: dict[int, tuple[Rule, ...]] = {}  # of each epoch
        self.gives_up: Order | None = None  # the operator's, while its claim is not yet promoted
        self.nodes: dict[str, Node] = {}
        self.root = records.prefix("sim")
        self.leader: Leader | None = None
        self.leader_revision = 0
        self.leader_at = 0.0
        self.order: Order | None = None
        self.members: dict[str, Member] = {}
        self.sealed: dict[str, tuple[int, int]] = {}
        self.renewed: dict[str, tuple[int, float]] = {}
        self.announced = 0
        self.branches: list[Branch] = []
        self.holders: dict[int, str] = {}
        self.first_ack: dict[int, tuple[str, float]] = {}
        self.clocks_lie = False  # then no lease holds, and everything but I3 and I4 must hold all the same
        self.acks = 0
        self.promotions = 0
        self.last_ack = 0.0
        self.expected: dict[str, int] = {}
        self.rules: set[str] = set()  # that some node decided by

    # -- the store -----------------------------------------------------------------------------------------------

    def on_landed(
        self,
        sender: str,
        sent: float,
        guards: Sequence[Guard],
        writes: Sequence[Write],
        before: dict[str, Entry],
        revision: int,
    ) -> None:
        """A write took effect."""
        self.plans.on_landed(sender, writes)
        for write in writes:
            key = write.key.removeprefix(self.root)
            if key == "leader" and write.value is not None:
                new = records.parse_value(key, write.value, records.parse_leader)
                assert not isinstance(new, Problem), new
                if self.leader is not None and new.epoch > self.leader.epoch:
                    self._on_claim(sender, self.leader, new, before.get(self.root + "request"))
                self._on_leader(sender, sent, new)
                self.leader, self.leader_revision = new, revision
            elif key == "request":
                order = records.parse_value(key, write.value, records.parse_order) if write.value else None
                self.order = order if isinstance(order, Order) else None
            elif key == "config":
                self.was_async = self.was_async or b'"async"' in (write.value or b"")
            elif key.startswith("members/") and write.value is not None:
                member = records.parse_value(key, write.value, records.parse_member)
                assert not isinstance(member, Problem) or sender == "op", member
                if isinstance(member, Member):
                    self._on_member(member)

    def _on_leader(self, sender: str, sent: float, new: Leader) -> None:
        old = self.leader
        if old is not None:
            self._epochs(sender, old, new)
            self._pause(old, new)
        self.leader_at = self.world.now
        if old is None or (old.epoch, old.tenure, old.sync) != (new.epoch, new.tenure, new.sync):
            rules = " | ".join(records.rule_text(r) for r in new.sync)
            self.world.trace(sender, "key", f"{new.tenure.value} e{new.epoch} {new.holder} beat {new.beat} [{rules}]")
        if old is not None and new.epoch == old.epoch and len(new.sync) < len(old.sync) and new.sync:
            self._still_covered(new)
        if sender in self.nodes and new.tenure is not Tenure.RELEASED:
            self.renewed[sender] = (new.epoch, sent + new.left_s / self.nodes[sender].slowest)
        self.last_sync[new.epoch] = new.sync
        if new.tenure is Tenure.HELD and not new.sync:
            for branch in self.branches:
                branch.acked = 0  # by the operator's word: nothing is promised from here on, and nothing of before
        if new.tenure is Tenure.HELD:
            self.announced = max(self.announced, new.epoch)
        if new.tenure is Tenure.RELEASED and sender in self.nodes:
            pg = self.nodes[sender].pg
            shut = pg.stopping and pg.data is not None and pg.data.clean is not None  # its exit is left to it (PG11)
            if pg.tree and not shut and (pg.state is State.PRIMARY or pg.promoting):
                self.world.fail("I8", f"{sender} released epoch {new.epoch} while its server runs")

    def _pause(self, old: Leader, new: Leader) -> None:
        why = broken(old, new, held_s=self.world.now - self.leader_at, asked=self.order)
        if why and not self.clocks_lie:
            self.world.fail("I13", why)
        if (old.paused is None) != (new.paused is None):
            self.world.trace(new.holder.node, "pause", f"{new.left_s:.1f} s" if new.paused else "over")

    def _epochs(self, sender: str, old: Leader, new: Leader) -> None:
        if new.epoch == old.epoch:
            if (new.holder, new.incarnation) != (old.holder, old.incarnation) or sender != old.holder.node:
                self.world.fail("I5", f"epoch {new.epoch} went from {old.holder} to {new.holder}, written by {sender}")
            if new.beat <= old.beat or (old.tenure is Tenure.HELD and new.tenure is Tenure.CLAIMED):
                what = f"beat {old.beat} was followed by {new.beat} ({new.tenure.value})"
                self.world.fail("I5", f"epoch {new.epoch}: {what}")
            if old.tenure is Tenure.RELEASED:
                self.world.fail("I5", f"epoch {new.epoch} was released and came back")
        elif new.epoch != old.epoch + 1 or new.tenure is not Tenure.CLAIMED or new.holder.node != sender:
            self.world.fail("I5", f"epoch {old.epoch} was followed by {new.epoch} ({new.tenure.value}) of {new.holder}")
        elif self.holders.setdefault(new.epoch, sender) != sender:
            self.world.fail("I5", f"epoch {new.epoch} was claimed by {self.holders[new.epoch]} already")
        elif self.gives_up is None and new.sync[:-1] != old.sync and not (self.was_async and not new.sync):
            self.world.fail("I5", f"the claim of epoch {new.epoch} does not keep the entries it found")

    def _on_claim(self, sender: str, old: Leader, new: Leader, asked: Entry | None) -> None:
        """What a claim leaves behind: entries an order names, at the revision it names; bytes within max_lag."""
        order = records.parse_value("request", asked.value, records.parse_order) if asked else None
        named = isinstance(order, Order) and (order.kind, order.target, order.phase) == ("failover", sender, "asked")
        gone = [rule for rule in old.sync if rule not in new.sync]
        lost = cover.behind(new.position, old.position, old.forks)
        self.gives_up = None
        if named and isinstance(order, Order) and order.revision == self.leader_revision:
            self.gives_up = order
        given = self.gives_up.gives_up if self.gives_up else ()
        if new.sync and any(rule not in given for rule in gone):
            rules = ", ".join(records.rule_text(rule) for rule in gone)
            self.world.fail("I12", f"{sender} claims epoch {new.epoch} without {rules}, which nobody gave up")
        if not old.sync and self.gives_up is None and lost > MAX_LAG:
            self.world.fail("I12", f"{sender} claims epoch {new.epoch} and lacks {lost} bytes, max_lag is {MAX_LAG}")

    def _on_member(self, member: Member) -> None:
        self.members[member.node] = member
        seal, node = member.seal, self.nodes.get(member.node)
        if seal is None or node is None or seal.revision != self.leader_revision or node.pg.data is None:
            return
        # for as long as the key stays there, also when it is taken back: somebody may have read it
        self.sealed[member.node] = (seal.revision, node.pg.data.inode)
        if seal.position != node.pg.data.position and member.data == seal.copy.data:
            self.world.fail("I6", f"{member.node} published {seal.position} and has {node.pg.data.position}")

    # -- servers -------------------------------------------------------------------------------------------------

    def on_measured(self, node: Node) -> None:
        """A sealed server says where its WAL ends."""
        if node.pg.data is not None and node.pg.data.torn:
            self.world.fail("I6", f"{node.name} measures a directory in which a rewind was cut short")

    def on_receive(self, node: Node) -> None:
        """A standby is about to get WAL."""
        assert node.pg.data is not None
        if self.sealed.get(node.name) == (self.leader_revision, node.pg.data.inode):
            self.world.fail("I6", f"{node.name} is sealed at revision {self.leader_revision} and receives WAL")

    def on_accept(self, node: Node, branch: Branch) -> None:
        """A primary writes a client's commit to its WAL."""
        leader, now = self.leader, self.world.now
        if leader is None or node.excused or self.clocks_lie:
            return
        if self.announced > branch.timeline and leader.holder.node != node.name:
            what = f"accepts on timeline {branch.timeline}, epoch {self.announced} is announced"
            self.world.fail("I3", f"{node.name} {what}")
        epoch, sent = self.renewed.get(node.name, (0, 0.0))
        end = sent + self.timing.f_hard_s / node.slowest + self.timing.kill_s + self.timing.poll_s
        if epoch != branch.timeline or now > end:
            what = f"accepts {now - sent:.3f} s after its last renewal of epoch {epoch} was sent"
            self.world.fail("I4", f"{node.name} {what}")

    def on_ack(self, node: Node, row: Row, rule: Names) -> None:
        """A client may be told that its commit is safe."""
        branch = row.branch
        assert branch is not None
        self.acks += 1
        self.last_ack = self.world.now
        epoch = branch.timeline
        promised = bool(self.last_sync.get(epoch, True))
        if promised:
            branch.acked = max(branch.acked, row.lsn)
        if self.durability == "strict" and rule.k == 0:
            self.world.fail("I1", f"{node.name} acknowledges {row.lsn} alone, under strict")
        self.first_ack.setdefault(epoch, (node.name, self.world.now))
        # Without voters nothing but the lease is left, and that asks for a clock that runs.
        no_clock = not promised and (self.clocks_lie or node.excused)
        for other, (name, at) in self.first_ack.items() if not no_clock else ():
            if other > epoch and name != node.name and at < row.sent:
                what = f"acknowledges on {epoch} a row sent after {name} acknowledged on {other}"
                self.world.fail("I2", f"{node.name} {what}")
        newest = max(self.branches, key=lambda b: b.timeline)
        if newest is not branch:
            self._holds("I1", newest, newest.fork, branch, f"{node.name} acknowledges; the newer primary")
        leader = self.leader
        if leader is not None and leader.epoch == epoch and leader.holder.node == node.name:
            copies = copies_of(rule)
            have = sum(1 for copy in copies if self._has(copy, branch))
            if have < rule.k:
                said = ", ".join(sorted(str(c) for c in copies))
                what = f"acknowledges {row.lsn} by {rule.k} of ({said}), {have} of them have it"
                self.world.fail("I1", f"{node.name} {what}")
            if leader.sync:
                self._listed(node, rule, copies, leader)

    def _listed(self, node: Node, rule: Names, copies: frozenset[Copy], leader: Leader) -> None:
        mine: list[Rule] = []
        for entry in reversed(leader.sync):
            if entry.holder != leader.holder:
                break
            mine.append(entry)
        for entry in mine:
            if not entry.voters or rule.k - min(rule.k, len(copies - entry.voters)) >= entry.k:
                return
        listed = " | ".join(records.rule_text(r) for r in leader.sync)
        said = ", ".join(sorted(str(c) for c in copies))
        self.world.fail("I7", f"{node.name} acknowledges under {rule.k} of ({said}), listed: {listed}")

    def _still_covered(self, new: Leader) -> None:
        """Entries went: what was acknowledged is with k voters of the last one (a lost copy counts as one)."""
        last = new.sync[-1]
        for branch in (b for b in self.branches if b.acked and last.voters):
            have = sum(1 for copy in last.voters if self._has(copy, branch))
            if have < last.k:
                rule = records.rule_text(last)
                what = f"{rule} has timeline {branch.timeline} to {branch.acked} {have} times"
                self.world.fail("I7", f"entries dropped, {what}")

    def _has(self, copy: Copy, branch: Branch) -> bool:
        node = self.nodes[copy.node]
        data = node.pg.data
        if data is None or node.inode_of(copy.data) != data.inode:
            return True
        limit = limit_on(data.branch, data.lsn, branch)
        return limit is not None and limit >= branch.acked

    def on_promotion(self, node: Node, branch: Branch) -> None:
        """A server is about to become writable on this branch."""
        self.promotions += 1
        leader = self.leader
        assert branch.parent is not None
        if self.gives_up is not None and leader is not None and leader.holder.node == node.name:
            self._given_up(branch)
        for older in self.branches:
            if (self.clocks_lie or node.excused) and older.timeline > branch.timeline:
                continue  # a claimant that was away and overtaken: nobody confirms what it writes
            self._holds("I1", branch.parent, branch.fork, older, f"{node.name} is promoted into {branch.timeline}: it")
            if older.timeline >= branch.timeline:
                what = f"opens timeline {branch.timeline}, {older.timeline} was there already"
                self.world.fail("I5", f"{node.name} {what}")
        if leader is not None and leader.holder.node == node.name and leader.epoch != branch.timeline:
            self.world.fail("I5", f"{node.name} holds epoch {leader.epoch} and opens timeline {branch.timeline}")
        self.branches.append(branch)

    def _holds(self, invariant: str, at: Branch, lsn: int, branch: Branch, who: str) -> None:
        limit = limit_on(at, lsn, branch)
        if branch.acked and (limit is None or limit < branch.acked):
            what = f"has timeline {branch.timeline} up to {limit}, acknowledged: {branch.acked}"
            self.world.fail(invariant, f"{who} {what}")

    def _given_up(self, branch: Branch) -> None:
        """By the operator's word: of what was acknowledged, what the new primary has is left."""
        assert branch.parent is not None
        self.gives_up = None
        for older in self.branches:
            older.acked = min(older.acked, limit_on(branch.parent, branch.fork, older) or 0)

    def final(self, node: Node) -> None:
        """All that was ever acknowledged is here."""
        data = node.pg.data
        assert data is not None
        for branch in self.branches:
            self._holds("I1", data.branch, data.lsn, branch, f"{node.name}, primary at the end,")

    # -- the agents ----------------------------------------------------------------------------------------------

    def on_said(self, node: Node, facts: Mapping[str, object]) -> None:
        """A line of a node's log."""
        event = str(facts["event"])
        if event == "decision":
            if facts["action"] != "nothing" and not facts["because"]:
                self.world.fail("I9", f"{node.name}: {facts['rule']} has no reasons")
            node.trace("decision", str(facts["rule"]))
            self.rules.add(str(facts["rule"]))
            if facts["action"] != "nothing" and node.ambush is not None:
                node.ambush()
        else:
            node.trace(event[:10], " ".join(f"{k}={v}" for k, v in facts.items() if k != "event"))

    def on_bug(self, node: Node, error: Exception) -> None:
        """An exception reached a loop."""
        name = f"{type(error).__name__}: {error}"[:160]
        if isinstance(error, EXPECTED):
            self.expected[name] = self.expected.get(name, 0) + 1
            node.trace("loop", name)
        else:
            where = "".join(traceback.format_exception(error)[-3:])
            self.world.fail("I10", f"{node.name}: {name}\n{where}")
