"""An executable model of the protocol: seals, cover, voters, claims, on a PostgreSQL with its own traps.

No time, no lease, no network: a scheduler that may do anything in any order; every node may be deluded, paused, lost or
wiped. Nothing here relies on an old primary having stopped. What it checks: every acknowledged commit is in the log of
each node at the moment it is promoted, and no commit is acknowledged that the promoted holder lacks.

PostgreSQL's part: acknowledgements go by the LSN a follower *reported*, not by what it has; reports arrive late, also
after the seal; after a reload some process goes by the old rule until a barrier. The decisions are the production
code's own: cover.covered, cover.claim_rule, cover.path, voters.copies_for. By hand, random runs (with a bug of
tests/model/bugs.py they must end in a loss):

    python -m tests.model.protocol_model SECONDS [BUG]
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from pgha.core import cover, voters
from pgha.core.model import Copy, Position, Rule, Seal
from tests.model.bugs import BUGS

STEPS = 400
SEGMENT = 8  # entries; a restarted node under-reports to the start of one

Entry = tuple[int, int]  # (epoch, number); number 0 is the promotion


class Loss(Exception):
    """An acknowledged commit is gone."""


@dataclass(slots=True)
class Key:
    """The leader key."""

    rev: int
    holder: str
    epoch: int
    promoted: bool
    sync: tuple[Rule, ...]


@dataclass(slots=True)
class Node:
    """A node with its data directory and, while it believes to be primary, its walsenders' memory.

    upstream: (name, epoch) it receives from. attempted: revision of a seal this agent has sent, landed or not.
    evaluated: the rules some process may go by. reports: what its walsenders heard; inbox: replies under way.
    mark: WAL end read after the barrier, 0: none. claimed: epoch it won.
    """

    name: str
    data: int
    log: list[Entry]
    primary_epoch: int = 0
    upstream: tuple[str, int] | None = None
    seal: Seal | None = None
    attempted: int = 0
    rule: Rule | None = None
    evaluated: list[Rule] = field(default_factory=list)
    reports: dict[Copy, int] = field(default_factory=dict)
    inbox: list[tuple[Copy, int]] = field(default_factory=list)
    mark: int = 0
    claimed: int = 0
    newest_timeline: int = 1
    up: bool = True

    @property
    def copy(self) -> Copy:
        return Copy(self.name, f"d{self.data}")

    def stop(self) -> None:
        """The server's processes are gone; what is on disk stays."""
        self.primary_epoch, self.upstream, self.rule, self.mark = 0, None, None, 0
        self.evaluated, self.reports, self.inbox = [], {}, []

    def shares_history(self, other: Node) -> bool:
        return other.log[: len(self.log)] == self.log


class World:
    """One run: everything that happens follows from the seed."""

    def __init__(self, seed: int, bug: str = "") -> None:
        assert not bug or bug in BUGS, f"no such bug: {bug}"
        self.random, self.bug = Random(seed), bug
        self.names = "abc" if self.random.random() < 0.6 else "abcde"
        self.nodes = {name: Node(name, i, [(1, 0)], upstream=("a", 1)) for i, name in enumerate(self.names)}
        self.timelines = {1: 1}  # of each epoch
        self.flight: list[tuple[str, Seal]] = []  # seals on their way to the store
        self.next_data, self.written = 100, 0
        self.acked, self.pending = set[Entry](), set[Entry]()
        self.stats: Counter[str] = Counter()
        first = self.nodes["a"]
        first.upstream, first.primary_epoch = None, 1
        rule = self.rule_of(first, frozenset(n.copy for n in self.nodes.values() if n is not first))
        first.rule, first.evaluated = rule, [rule]
        self.key = Key(1, "a", 1, True, (rule,))
        self.actions, self.weights = self.schedule()

    def schedule(self) -> tuple[list[Callable[[], None]], list[float]]:
        """What may happen and how often; each seed stresses other things (swarm testing)."""
        base: dict[Callable[[], None], float] = {
            self.write: 6, self.replicate: 12, self.report: 8, self.deliver: 8, self.acknowledge: 8,
            self.make_seal: 3, self.land: 6, self.claim: 8, self.promote: 8, self.follow: 8, self.add_rule: 2,
            self.barrier: 4, self.drop_rules: 4, self.renew: 3, self.crash: 0.7, self.boot: 4, self.wipe: 0.3,
            self.clone: 1, self.demote: 1.2,
        }  # fmt: skip
        return list(base), [weight * self.random.choice((0.2, 1, 1, 1, 3)) for weight in base.values()]

    def run(self, steps: int = STEPS) -> None:
        """Raises Loss."""
        for action in self.random.choices(self.actions, self.weights, k=steps):
            action()

    # -- small questions ------------------------------------------------------------------------------------------
    def some(self, condition: Callable[[Node], object]) -> Node | None:
        able = [n for n in self.nodes.values() if n.up and condition(n)]
        return self.random.choice(able) if able else None

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    def rule_of(self, holder: Node, chosen: frozenset[Copy]) -> Rule:
        return Rule(holder.copy, chosen, voters.copies_for(len(chosen), self.configured()))

    def configured(self) -> int:
        """The setting `copies`: at random, also within a run."""
        return self.random.randint(0, len(self.names) - 1)

    def position(self, node: Node) -> Position:
        return Position(self.timelines[node.log[-1][0]], len(node.log))

    def sealed(self, node: Node) -> bool:
        """Its seal of the key's present revision has landed."""
        return node.seal is not None and node.seal.revision == self.key.rev

    def holder(self, *, claimed: bool = False) -> Node | None:
        """The rightful primary, if it runs; with `claimed` also one that has yet to be promoted."""
        node = self.nodes[self.key.holder]
        return node if node.up and self.key.epoch in (node.primary_epoch, node.claimed * claimed) else None

    def source(self, node: Node) -> Node | None:
        """Whom the node streams from, if that works."""
        if node.upstream is None:
            return None
        source = self.nodes[node.upstream[0]]
        works = source.up and node.upstream[1] in (source.primary_epoch, source.claimed) and node.shares_history(source)
        return source if works else None

    # -- PostgreSQL -----------------------------------------------------------------------------------------------
    def write(self) -> None:
        node = self.some(lambda n: n.primary_epoch)  # deluded ones too
        if node:
            self.written += 1
            entry = (node.primary_epoch, self.written)
            node.log.append(entry)
            self.pending.add(entry)

    def replicate(self) -> None:
        node = self.some(lambda n: n.upstream)
        source = node and self.source(node)
        if node and source:
            node.log += source.log[len(node.log) :][: self.random.randint(1, 4)]

    def report(self) -> None:
        node = self.some(lambda n: n.upstream)
        source = node and self.source(node)
        if node and source:
            source.inbox.append((node.copy, len(node.log)))

    def deliver(self) -> None:
        """A reply arrives, perhaps long after its sender has sealed."""
        node = self.some(lambda n: n.primary_epoch and n.inbox)
        if node:
            copy, lsn = node.inbox.pop(self.random.randrange(len(node.inbox)))
            node.reports[copy] = max(node.reports.get(copy, 0), lsn)

    def acknowledge(self) -> None:
        """A process of a primary lets through what its rule says is replicated.

        Only what was written in this epoch: its earlier clients are gone, the server was stopped in between.
        """
        node = self.some(lambda n: n.primary_epoch and n.evaluated)
        if not node:
            return
        rule = self.random.choice(node.evaluated)
        if self.bug == "names_late" and node.primary_epoch != 1 and not node.mark and self.chance(0.3):
            rule = Rule(node.copy, frozenset(), 0)
        fresh = {entry for entry in self.pending if entry[0] == node.primary_epoch}
        for lsn, entry in reversed(list(enumerate(node.log, start=1))[-6:]):
            if entry in fresh and sum(node.reports.get(v, 0) >= lsn for v in rule.voters) >= rule.k:
                self.pending.discard(entry)
                self.acked.add(entry)
                self.stats["acks"] += 1
                self.check_held(entry)

    def check_held(self, entry: Entry) -> None:
        if self.key.promoted and entry not in self.nodes[self.key.holder].log:
            raise Loss(f"{entry} acknowledged, but {self.key.holder}, promoted in epoch {self.key.epoch}, lacks it")

    # -- seals and claims -----------------------------------------------------------------------------------------
    def make_seal(self) -> None:
        """A standby, or a stopped former primary, sees the key silent or released: here at any time."""
        node = self.some(lambda n: not n.primary_epoch and n.log and not self.sealed(n))
        if not node:
            return
        position = self.position(node)
        if self.bug == "underreport" and self.chance(0.2):
            position = replace(position, lsn=position.lsn - position.lsn % SEGMENT)
        leaks = self.bug == "keep_ack" or (self.bug == "seal_leaks" and self.chance(0.2))
        if not leaks:
            node.upstream = None
        node.attempted = self.key.rev
        self.flight.append((node.name, Seal(self.key.rev, node.copy, position)))

    def land(self) -> None:
        if self.flight:
            name, seal = self.flight.pop(self.random.randrange(len(self.flight)))
            self.nodes[name].seal = seal

    def seals(self, own: Seal) -> list[Seal]:
        """What members/ shows; a broken variant reads it wrongly."""
        found = [n.seal for n in self.nodes.values() if n.seal]
        if self.bug == "seal_not_bound":
            found = [replace(s, revision=own.revision) for s in found]
        if self.bug == "ahead_ok":
            found = [replace(s, position=min(s.position, own.position)) for s in found]
        if self.bug == "wiped_votes":
            listed = {c for rule in self.key.sync for c in (rule.holder, *rule.voters)}
            found += [replace(s, copy=c) for s in found for c in listed if c.node == s.copy.node]
        return found

    def covered(self, own: Seal) -> bool:
        sync = self.key.sync
        if self.bug == "any_seal":
            return True
        if self.bug == "one_seal_less":
            sync = tuple(replace(rule, k=min(rule.k + 1, len(rule.voters))) for rule in sync)
        return cover.covered(own, self.seals(own), sync)

    def claim(self) -> None:
        """The only way to become primary; a holder that stopped takes its key back by it, covered by its own seal."""
        node = self.some(lambda n: self.sealed(n) and n.seal and n.seal.copy == n.copy)
        if not node or node.seal is None or node.primary_epoch or node.upstream or not self.covered(node.seal):
            return
        self.stats["take-backs" if self.key.sync[-1].holder == node.copy else "claims"] += 1
        also = [n.copy for n in self.nodes.values() if self.chance(0.1)]  # expected, whatever has become of them
        rule = cover.claim_rule(node.seal, self.seals(node.seal), self.configured(), also)
        kept = (*(() if self.bug == "claim_forgets" else self.key.sync), rule)
        self.key = Key(self.key.rev + 1, node.name, self.key.epoch + 1, False, kept)
        node.stop()
        node.seal, node.rule, node.evaluated, node.claimed = None, rule, [rule], self.key.epoch

    def promote(self) -> None:
        key, node = self.key, self.nodes[self.key.holder]
        if key.promoted or not node.up or node.primary_epoch or node.claimed != key.epoch or not node.rule:
            return
        lost = sorted(self.acked.difference(node.log))
        if lost:
            raise Loss(f"{node.name} promoted in epoch {key.epoch} without {len(lost)} acknowledged, {lost[0]} first")
        timeline = max(node.newest_timeline, self.timelines[node.log[-1][0]]) + 1 if self.bug == "tl_pg" else key.epoch
        self.timelines[key.epoch] = node.newest_timeline = timeline
        node.log.append((key.epoch, 0))
        node.primary_epoch, node.upstream = key.epoch, None
        key.promoted, key.rev = True, key.rev + 1
        self.stats["promotions"] += 1

    # -- the other nodes ------------------------------------------------------------------------------------------
    def follow(self) -> None:
        """A standby or former primary follows who claimed; rewound, if it must be, once that one is promoted."""
        holder = self.holder(claimed=True)
        node = self.some(lambda n: n.name != self.key.holder and not n.primary_epoch and n.log)
        if not node or not holder or (not holder.primary_epoch and self.diverged(node, holder)):
            return
        if (node.attempted == self.key.rev or self.sealed(node)) and self.bug != "unseal_free":
            return
        if self.diverged(node, holder):
            if self.bug == "trial_follow" and self.chance(0.5):
                holder.inbox.append((node.copy, len(node.log)))
                node.seal = None
                return
            same = [i for i, (a, b) in enumerate(zip(node.log, holder.log, strict=False)) if a != b]
            del node.log[same[0] if same else len(holder.log) :]
        node.upstream = (holder.name, self.key.epoch)
        node.newest_timeline = max(node.newest_timeline, holder.newest_timeline)
        if self.bug != "unseal_free":
            node.seal = None

    def diverged(self, node: Node, holder: Node) -> bool:
        """Decided from positions; it must agree with what the logs say."""
        if self.bug == "tl_pg":
            return not node.shares_history(holder)
        ends = {epoch: lsn for lsn, (epoch, _) in enumerate(holder.log, start=1)}
        end = ends.pop(holder.log[-1][0])
        path = cover.path(self.position(node), holder.log[-1][0], end, tuple(ends.items()))
        assert (path is cover.Path.FOLLOW) == node.shares_history(holder), (path, node, holder)
        return path is cover.Path.DIVERGED

    def crash(self) -> None:
        node = self.some(lambda n: True)
        if node:
            node.stop()
            node.up = False

    def boot(self) -> None:
        """A fresh agent: its first write to members/ makes what its predecessor had under way fail."""
        down = [n for n in self.nodes.values() if not n.up]
        if down:
            node = self.random.choice(down)
            node.up, node.attempted = True, 0
            if self.bug != "late_seal_forget":
                self.flight = [(name, seal) for name, seal in self.flight if name != node.name]

    def wipe(self) -> None:
        """A disk is lost, whether an entry needs it or not; what comes there is a new copy."""
        node = self.some(lambda n: not n.primary_epoch and n.name != self.key.holder)
        if node:
            self.stats["wiped"] += any(node.copy in (r.holder, *r.voters) for r in self.key.sync)
            node.log, node.seal, node.upstream = [], None, None
            if self.bug != "same_id":
                node.data, self.next_data = self.next_data, self.next_data + 1

    def clone(self) -> None:
        """An empty directory is filled from a base backup of the primary, perhaps an old one."""
        node, holder = self.some(lambda n: not n.log), self.holder()
        if not node or not holder:
            return
        node.log = holder.log[: self.random.randint(1, len(holder.log))]
        node.upstream = (holder.name, self.key.epoch)
        self.stats["clones"] += 1

    # -- the holder -----------------------------------------------------------------------------------------------
    def renew(self) -> None:
        """Seals made at the old revision are void."""
        if self.holder():
            self.key.rev += 1

    def add_rule(self) -> None:
        """The entry first, then the setting: until the barrier both are in force."""
        if not (node := self.holder()) or len(self.key.sync) >= voters.MAX_ENTRIES:
            return
        pool = sorted(n.copy for n in self.nodes.values() if n is not node and n.log)
        rule = self.rule_of(node, frozenset(self.random.sample(pool, self.random.randint(0, len(pool)))))
        self.key.sync = (rule,) if self.bug == "drop_early" else (*self.key.sync, rule)
        self.key.rev += 1
        node.rule, node.mark = rule, 0
        node.evaluated.append(rule)
        self.stats["changes"] += 1

    def barrier(self) -> None:
        """From here on every process goes by the present rule, and only now the WAL end is read."""
        node = self.holder()
        if node and node.rule:
            node.evaluated = [*(node.evaluated[:-1] if self.bug == "stale_rule" else ()), node.rule]
            node.reports = {c: lsn for c, lsn in node.reports.items() if c in node.rule.voters}
            node.inbox = [(c, lsn) for c, lsn in node.inbox if c in node.rule.voters]
            node.mark = len(node.log)

    def drop_rules(self) -> None:
        """The older entries go once k of the present voters have reported the mark."""
        node = self.holder()
        if node and node.rule and node.mark and len(self.key.sync) > 1:
            have = sum(node.reports.get(v, 0) >= node.mark for v in node.rule.voters)
            if have >= node.rule.k:
                self.key.sync, self.key.rev = (node.rule,), self.key.rev + 1

    def demote(self) -> None:
        """A primary learns that it is not the holder any more, or is fenced."""
        node = self.some(lambda n: n.primary_epoch and (n.primary_epoch != self.key.epoch or self.chance(0.15)))
        if node:
            node.stop()
            node.seal = None


def main(arguments: list[str]) -> int:
    """Run for some seconds; 1 when a commit was lost."""
    seconds, bug = float(arguments[0]) if arguments else 10.0, arguments[1] if len(arguments) > 1 else ""
    end, seed, total = time.monotonic() + seconds, 0, Counter[str]()
    while time.monotonic() < end:
        seed += 1
        world = World(seed, bug)
        try:
            world.run()
        except Loss as loss:
            sys.stdout.write(f"seed {seed}: LOSS: {loss}\n")
            return 1
        total += world.stats
    sys.stdout.write(f"{seed} runs, no acknowledged commit lost; {dict(total)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
