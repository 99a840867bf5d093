"""Why the cluster is as it is: what each node does, which facts decided it, what is missing, and what to do next.

Computed by the functions the nodes decide with (`classify`, `choose`, `reasons`, `cover.missing`), from one reading of
the store; nothing here judges on its own. What only a node can know is named as its own word. Pure.
May import core, records and its neighbours in ops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import combinations, product
from math import inf

from pgha import records
from pgha.core import cover
from pgha.core.classify import seals_at
from pgha.core.decide import Reason, Rule, choose, reasons
from pgha.core.model import Copy, Leader, Member, Position, Seal, Tenure
from pgha.core.observation import StoreView
from pgha.core.situation import AXES, Bid, Holder, Situation
from pgha.errors import Exit, UsageError
from pgha.ops.advice import moves
from pgha.ops.observed import Rebuilt, at_least, rebuild, rule_named, timing_of, view_of
from pgha.ops.promise import WRITES_WAIT
from pgha.ops.status import Row, Seen, Status, is_fresh, judge
from pgha.ops.target import Target

SCHEMA_VERSION = 1
ASTRAY = ("R200_FOREIGN", "R210_RESTORED", "R240_NO_LEADER_KEY")  # the store is not what it was: the operator decides
GOES_ON = ("R540_FOLLOWING", "R570_FOLLOW")
BEGINNING = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The fewest facts that would have to be otherwise for the node to come to a rule: axis, and which values do."""

    rule: Rule
    changes: tuple[tuple[str, tuple[Enum, ...]], ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """A copy that has not sealed and would help.

    position: the last one known, None when nothing is. seen_s: since its node's last report. fresh: it reports now.
    replaced_by: the node's present copy, or "none"; "" when this one is still there. enough: its seal, at that
    position, would do.
    """

    copy: Copy
    position: Position | None
    seen_s: float | None
    fresh: bool
    replaced_by: str
    enough: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """Why nobody may take over.

    best: the highest seal of a node that reports, None when there is none; barred: that node may not lead, and none
    that may has sealed. coming: the copies that report and have not sealed yet, when their seals, at the positions
    known, complete what is missing.
    """

    best: Seal | None
    barred: bool
    lacks: tuple[cover.Missing, ...]
    absent: tuple[Absent, ...]
    coming: tuple[Copy, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """One node. published: the rule's name as the node gave it; sentence: its text, "" for one not known here.

    rebuilt: what core makes of the store's facts and the node's word; None when the node does not report.
    lacks: what its seal, at the position known, would lack now; None when it has nothing to seal. sealed: it has.
    """

    row: Row
    published: str
    sentence: str
    rebuilt: Rebuilt | None
    fresh: bool
    nofailover: bool = False
    reasons: tuple[Reason, ...] = ()
    to_lead: Wanted | None = None
    to_follow: Wanted | None = None
    lacks: tuple[cover.Missing, ...] | None = None
    sealed: bool = False

    @property
    def differs(self) -> bool:
        """The node says one thing and the store's facts give another."""
        return self.rebuilt is not None and bool(self.published) and self.rebuilt.rule.name != self.published

    @property
    def astray(self) -> bool:
        """It says that the store is not what it was."""
        return self.fresh and self.published in ASTRAY


@dataclass(frozen=True, slots=True)
class Explained:
    """The whole answer. status: what `list` says of the same look. failover_after_s: H.

    one: only one node was asked for. gone: copies some rule names, whose nodes have another directory now.
    """

    status: Status
    answer: str
    notes: tuple[str, ...]
    gap: Gap | None
    nodes: tuple[NodeAnswer, ...]
    next_step: str
    failover_after_s: float
    one: bool = False
    gone: frozenset[Copy] = frozenset()

    @property
    def exit(self) -> Exit:
        """As `list`."""
        return self.status.exit


# -- conditions ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def nearest(here: Situation, goal: Rule) -> Wanted | None:
    """The fewest axes that must change, and to what, so that `choose` gives `goal`; by trying. None: never."""
    now = {axis: getattr(here, axis) for axis in AXES}
    for count in range(len(AXES) + 1):
        for axes in combinations(AXES, count):
            others = [[v for v in AXES[axis] if v not in (now[axis], Holder.MINE_ENDED)] for axis in axes]
            hits = [
                c for c in product(*others) if choose(Situation(**{**now, **dict(zip(axes, c, strict=True))})) is goal
            ]
            if hits:
                values = zip(axes, zip(*hits, strict=True), strict=True)
                return Wanted(goal, tuple((axis, tuple(dict.fromkeys(found))) for axis, found in values))
    return None


# -- who is missing --------------------------------------------------------------------------------------------


def hearing_nothing(seen: Seen) -> list[str]:
    """Who says, by its rule, that the key's holder has been silent for H: sooner than the holder's record is old."""
    built = {m.node: rebuild(seen, m.node) for m in seen.records.members.values() if is_fresh(m, seen.at)}
    return sorted(name for name, b in built.items() if b is not None and b.situation.holder is Holder.SILENT)


def _key_is_free(seen: Seen) -> bool:
    """Released, or its holder is not heard: then cover is what a take-over waits for."""
    leader = seen.records.leader
    if leader is None:
        return False
    if hearing_nothing(seen):
        return True
    if leader.paused is not None:
        return False
    return leader.tenure is Tenure.RELEASED or not is_fresh(seen.records.members.get(leader.holder.node), seen.at)


def _lacks(own: Seal | None, view: StoreView) -> tuple[cover.Missing, ...]:
    """What cover.missing says for this seal; without one, for a node that has nothing."""
    assert view.leader is not None
    return cover.missing(own or Seal(view.leader_revision, Copy("", ""), BEGINNING), seals_at(view), view.leader.sync)


def _known(copy: Copy, leader: Leader, member: Member | None) -> Position | None:
    """The highest position the store shows of this very copy."""
    known = [member.position] if member is not None and member.copy == copy else []
    known += [leader.position] if leader.holder == copy else []
    return max((p for p in known if p > BEGINNING), default=None)


def find_gap(seen: Seen) -> Gap | None:
    """Why nobody may take over although the key is free; None when somebody may, or the key is not free."""
    view, leader = view_of(seen.records), seen.records.leader
    if leader is None or not _key_is_free(seen):
        return None
    seals = seals_at(view)
    able = [m for m in view.members.values() if m.seal in seals and is_fresh(m, seen.at)]
    known = [cover.Candidate(m.seal, m.precedence, m.node, m.nofailover) for m in able if m.seal]
    first = cover.best(known) or cover.best(replace(c, barred=False) for c in known)
    best = first.seal if first else None
    lacks = _lacks(best, view)
    if not lacks:
        return None
    copies = sorted({copy for lack in lacks for copy in lack.absent})
    absent = tuple(about(copy, seen, view) for copy in copies)
    here = tuple(a for a in absent if a.fresh and not a.replaced_by)
    more = [Seal(view.leader_revision, a.copy, at_least(a.copy, a.position, view)) for a in here]
    coming = tuple(a.copy for a in here) if _led(more, seen, view) else ()
    barred = first is not None and view.members[first.name].nofailover
    return Gap(best, barred, lacks, absent, coming)


def _led(more: Sequence[Seal], seen: Seen, view: StoreView) -> bool:
    """With these seals besides those there are, somebody who reports, or one of these, has cover and may lead."""
    assert view.leader is not None
    seals = (*seals_at(view), *more)
    for seal in seals:
        member = view.members.get(seal.copy.node)
        able = seal in more or is_fresh(member, seen.at)
        barred = member is not None and member.nofailover
        if able and not barred and cover.covered(seal, seals, view.leader.sync):
            return True
    return False


def about(copy: Copy, seen: Seen, view: StoreView) -> Absent:
    """What is known of a copy that has not sealed."""
    assert view.leader is not None
    member = view.members.get(copy.node)
    position, fresh = _known(copy, view.leader, member), is_fresh(member, seen.at)
    other = (str(member.copy) if member.data else "none") if member is not None and member.data != copy.data else ""
    enough = not other and _led([Seal(view.leader_revision, copy, at_least(copy, position, view))], seen, view)
    age = None if member is None else max(0.0, seen.at - member.written_at)
    return Absent(copy, position, age, fresh, other, enough)


# -- one node --------------------------------------------------------------------------------------------------


def _node(row: Row, seen: Seen) -> NodeAnswer:
    member, leader = seen.records.members.get(row.node), seen.records.leader
    if member is None:
        return NodeAnswer(row, "", "", None, fresh=False)
    known, fresh = rule_named(member.rule), is_fresh(member, seen.at)
    sentence = known.sentence if known else ""
    built = rebuild(seen, row.node) if fresh else None
    if built is None or leader is None:
        why = reasons(built.situation) if built else ()
        return NodeAnswer(row, member.rule, sentence, built, fresh, member.nofailover, why)
    view, holds = view_of(seen.records), leader.holder.node == row.node and leader.tenure is not Tenure.RELEASED
    sealed = member.seal is not None and member.seal.revision == view.leader_revision
    own = member.seal if sealed else Seal(view.leader_revision, member.copy, member.position)
    return NodeAnswer(
        row=row,
        published=member.rule,
        sentence=sentence,
        rebuilt=built,
        fresh=fresh,
        nofailover=member.nofailover,
        reasons=reasons(built.situation),
        to_lead=None if holds else nearest(built.situation, Rule.R670_CLAIM),
        to_follow=None if holds or built.rule.name in GOES_ON else nearest(built.situation, Rule.R570_FOLLOW),
        lacks=None if holds or not member.data else _lacks(own, view),
        sealed=sealed,
    )


# -- the whole -------------------------------------------------------------------------------------------------


def explain(target: Target, seen: Seen, only: str | None = None) -> Explained:
    """The answer to this look; `only`: for one node. Raises UsageError when there is no such node."""
    status = judge(target, seen)
    names = [row.node for row in status.rows]
    if only is not None and only not in names:
        raise UsageError(f"there is no node {only!r} in {target.cluster}", f"nodes: {', '.join(sorted(names))}")
    nodes = tuple(_unheard(row) if seen.down else _node(row, seen) for row in status.rows)
    gap = None if seen.down else find_gap(seen)
    answer, notes = _answer(status, seen)
    return Explained(
        status=status,
        answer=answer,
        notes=notes + _astray(nodes) + _silence(status, seen) + _barred(nodes),
        gap=gap,
        nodes=tuple(n for n in nodes if only in (None, n.row.node)),
        next_step=_next_step(target, seen, status, nodes, gap),
        failover_after_s=timing_of(seen.records).h_s,
        one=only is not None,
        gone=_gone(seen),
    )


def _astray(nodes: Iterable[NodeAnswer]) -> tuple[str, ...]:
    """Who says that the store is not what it was: `list` does not know it."""
    who: dict[str, list[str]] = {}
    for node in nodes:
        if node.astray:
            who.setdefault(node.sentence, []).append(node.row.node)
    return tuple(f"{', '.join(names)} said: {sentence}" for sentence, names in who.items())


def _silence(status: Status, seen: Seen) -> tuple[str, ...]:
    """Who hears nothing of a holder whose record still looks young."""
    who = hearing_nothing(seen) if status.leader and not seen.down else []
    return (f"{', '.join(who)} said of the leader key: {Holder.SILENT.value}",) if who else ()


def _barred(nodes: Iterable[NodeAnswer]) -> tuple[str, ...]:
    """Who has cover and is kept from leading by its tag alone, or where nothing is promised by its lag."""
    barred = [n for n in nodes if n.rebuilt and n.rebuilt.situation.bid is Bid.BARRED and n.lacks == ()]
    tagged = [n.row.node for n in barred if n.nofailover]
    lagging = [n.row.node for n in barred if not n.nofailover]
    said = (f"with cover, and tagged nofailover: {', '.join(tagged)}",) if tagged else ()
    return said + ((f"too far behind to take over (max_lag): {', '.join(lagging)}",) if lagging else ())


def _gone(seen: Seen) -> frozenset[Copy]:
    """Copies that a rule of `sync` names, and whose nodes have another directory, or none, now."""
    leader, members = seen.records.leader, seen.records.members
    named = {copy for rule in (leader.sync if leader else ()) for copy in (rule.holder, *rule.voters)}
    return frozenset(c for c in named if c.node in members and members[c.node].data != c.data)


def _unheard(row: Row) -> NodeAnswer:
    return NodeAnswer(row, "", "", None, fresh=False)


def _answer(status: Status, seen: Seen) -> tuple[str, tuple[str, ...]]:
    """Is there a primary, and if not why not; then what else is wrong and not told with its node."""
    rest = tuple(n for n in status.notes if not any(n.startswith(f"{row.node}: ") for row in status.rows))
    order = seen.records.order
    asked = (f"{status.order}{': ' + order.answer if order.answer else ''}",) if order is not None else ()
    if seen.down:
        why = f"nobody can say from here: the store gave no answer: {seen.down}"
        return why, (Rule.R220_STORE_SILENT.sentence, f"on the primary: {Rule.R150_STOP_LATE.sentence}")
    if status.leader and (status.exit is not Exit.NO_PRIMARY or status.verdict == WRITES_WAIT):
        return f"there is a primary: {status.leader} holds the leader key of epoch {status.epoch}", (*asked, *rest)
    if status.verdict == "TWO PRIMARIES":
        return f"there are two primaries: {'; '.join(n for n in rest if ' says it is primary' in n)}", asked
    if rest:
        unread = seen.records.leader is None and "leader" in seen.records.revisions
        why = "the leader key can't be read" if unread else rest[0]
        return f"there is no primary: {why}", (*asked, *rest[1:])
    return f"there is no primary: {status.verdict}", asked


# -- what to do ------------------------------------------------------------------------------------------------


def _etcdctl(target: Target, words: str) -> str:
    access = target.store
    files = (("cacert", access.ca_file), ("cert", access.cert_file), ("key", access.key_file), ("user", access.user))
    flags = "".join(f" --{name} {value}" for name, value in files if value)
    return f"etcdctl --endpoints {','.join(access.endpoints)}{flags} {words}"


def _start(target: Target, node: str) -> str:
    """Start the node's watchdog as cron does, as the server's user; where one runs nothing happens."""
    if target.local_dir:
        return target.command("bootstrap")
    host = next((ref.host for ref in target.nodes if ref.name == node), node)
    return f"ssh {host} sudo -u postgres pgha watchdog --node /etc/pgha/{target.cluster}.json"


def _next_step(target: Target, seen: Seen, status: Status, nodes: Iterable[NodeAnswer], gap: Gap | None) -> str:
    """The cheapest step that loses nothing: look, wait, start what is down. Empty when all is well."""
    found = seen.records
    if seen.down:
        return _etcdctl(target, "endpoint health")
    if found.leader is None or any(n.astray for n in nodes):
        return _etcdctl(target, f"get --prefix {records.prefix(target.cluster)} --keys-only")
    if status.paused is not None and gap is None:
        return status.next_step
    if status.exit is Exit.OK and gap is None:
        return target.command("list -w") if status.order else ""
    if gap is not None:
        return target.command("list -w") if gap.coming else fill(target, gap)
    barred = [n.row.node for n in nodes if n.fresh and n.published == Rule.R660_BARRED.name]
    if barred and _only_barred(seen):
        silent = [ref.name for ref in target.nodes if not is_fresh(found.members.get(ref.name), seen.at)]
        return _start(target, silent[0]) if silent else f"allow one to lead: take nofailover from {', '.join(barred)}"
    if barred and status.exit is Exit.NO_PRIMARY:
        return target.command("failover")
    down = [n.row.node for n in nodes if not n.fresh]
    if down and (status.exit is Exit.DEGRADED or status.verdict == WRITES_WAIT):
        return _start(target, down[0])
    if status.exit is Exit.DEGRADED and status.store_up < status.store_size:
        return _etcdctl(target, "endpoint health")
    return moves(target, status.rows) or target.command("list -w")


def _only_barred(seen: Seen) -> bool:
    """Nobody who reports is allowed to lead, and the key is free."""
    here = [m for m in seen.records.members.values() if is_fresh(m, seen.at)]
    return _key_is_free(seen) and all(m.nofailover for m in here)


def fill(target: Target, gap: Gap) -> str:
    """Start whose seal would do, the latest seen first; when no single one does, the first of those that are silent."""
    there = [a for a in gap.absent if not a.replaced_by]
    useful = [a for a in there if a.enough] or [a for a in there if not a.fresh] or there
    if not useful:
        lost = ", ".join(str(a.copy) for a in gap.absent)
        return f"bring back the data directory {lost}, then {target.command('list -w')}"
    first = min(useful, key=lambda a: (inf if a.seen_s is None else a.seen_s, a.copy))
    return target.command("list -w") if first.fresh else _start(target, first.copy.node)
