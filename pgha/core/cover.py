"""Who may take over: seals, cover, the best candidate, the rule of a claim, and who may follow without a rewind.

Duty: arithmetic over sets of copies. May import pgha.core.model and pgha.core.voters only.

Why cover is enough (design, section 6). A commit acknowledged under a rule (holder, V, k) had been flushed by the
holder and by k of the n voters. Any n - k + 1 voters include one of those k. A sealed copy receives nothing more, so
what it has ever confirmed lies at or below the position it sealed. Positions are comparable: a timeline is an epoch,
and who opened it held all that was acknowledged before. So a node at or above the seals of n - k + 1 voters, or of the
holder, holds every commit of that rule. Who claimed with cover holds what the entries before its own promised, for
good; its seal stands for them too (redteam, finding 17).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from pgha.core import voters
from pgha.core.model import Copy, Position, Rule, Seal


@dataclass(frozen=True, slots=True)
class Missing:
    """An entry that is not covered.

    have, need: its voters sealed at or below the asking position, and how many would do (without voters 1: the holder).
    absent: who has no seal at this revision and would help: its voters, its holder, the holders of later entries.
    """

    rule: Rule
    have: int
    need: int
    absent: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sealed node as `best` compares it. replay_behind: bytes of WAL it holds and has not replayed.

    holds: the leader key, not released, is its own: it had to stop for the store's silence.
    """

    seal: Seal
    priority: int
    name: str
    barred: bool = False
    replay_behind: int = 0
    holds: bool = False


class Path(Enum):
    """What a server has to do before it may follow."""

    FOLLOW = "follow"
    DIVERGED = "diverged"


def covered(own: Seal, seals: Iterable[Seal], sync: tuple[Rule, ...]) -> bool:
    """True when the seals at or below `own`, own included, cover every entry of `sync`; an empty one asks for nothing.

    Only seals of own's revision count: a take-over is a CAS on that very revision, and a seal of another one promises
    nothing for it. Of a copy listed twice its highest seal counts, once: a seal too low would let a worse node cover.
    """
    return not missing(own, seals, sync)


def missing(own: Seal, seals: Iterable[Seal], sync: tuple[Rule, ...]) -> tuple[Missing, ...]:
    """The entries of `sync` that are not covered, each with what it lacks, in the order of `sync`."""
    known = _positions(own, seals)
    counted = {copy for copy, position in known.items() if position <= own.position}
    # Who covers as a holder: not one whose disk went back (redteam, finding 13).
    holders = [rule.holder in counted and not _went_back(rule.holder, known, sync) for rule in sync]
    found = []
    for i, rule in enumerate(sync):
        have = len(rule.voters & counted)
        need = len(rule.voters) - rule.k + 1  # 1 without voters: nothing but a holder is left to reach it
        if have >= need or any(holders[i:]):
            continue
        helpful = rule.voters.union(later.holder for later in sync[i:])
        found.append(Missing(rule, have, need, tuple(sorted(helpful - known.keys()))))
    return tuple(found)


def _positions(own: Seal, seals: Iterable[Seal]) -> dict[Copy, Position]:
    """The highest position each copy has sealed at own's revision."""
    known = {own.copy: own.position}
    for seal in seals:
        if seal.revision == own.revision:
            known[seal.copy] = max(seal.position, known.get(seal.copy, seal.position))
    return known


def _went_back(holder: Copy, known: dict[Copy, Position], sync: tuple[Rule, ...]) -> bool:
    """True when a voter of this holder has sealed above it on the same timeline.

    A primary sends only what it has flushed, so nobody is ahead of it on its own timeline, unless its disk lied or was
    set back to an older state. Then it may lack any commit of its rules, and covers none of them. (A former holder
    that already follows a later one may be behind too, and is refused without need: that costs a wait, never a commit.)
    """
    own = known[holder]
    followers = (v for rule in sync if rule.holder == holder for v in rule.voters)
    return any(v in known and known[v].timeline == own.timeline and known[v].lsn > own.lsn for v in followers)


def best(candidates: Iterable[Candidate]) -> Candidate | None:
    """The one the others give way to; None when nobody is left. Barred ones (nofailover) never win.

    Order: position; then who holds the key (nobody has to move); then less to replay (it is writable sooner); then
    the higher priority; then the name.
    """
    eligible = [c for c in candidates if not c.barred]
    return min(eligible, key=_rank, default=None)


def _rank(candidate: Candidate) -> tuple[int, int, bool, int, int, str]:
    c, position = candidate, candidate.seal.position
    return -position.timeline, -position.lsn, not c.holds, c.replay_behind, -c.priority, c.name


def claim_rule(own: Seal, seals: Iterable[Seal], copies: int, also: Iterable[Copy] = ()) -> Rule:
    """The rule a claim adds: its voters are the copies whose seals it counted, and those `also` expected.

    `copies` is the setting (0: the default). Naming anybody loses nothing, but naming the dead, a dead holder above
    all, would make the next failure wait for them (redteam, finding 17): others join later by a change of voters.
    """
    known = _positions(own, seals)
    sealed = frozenset(c for c, position in known.items() if c != own.copy and position <= own.position)
    sealed |= frozenset(also) - {own.copy}
    return Rule(own.copy, sealed, voters.copies_for(len(sealed), copies))


def behind(position: Position, end: Position, forks: Sequence[tuple[int, int]]) -> int:
    """Bytes of WAL up to `end` that a server at `position` does not have; 0 when it has them all.

    forks: of the timeline of `end`. On a timeline that is not among them nothing is in common that is known of.
    """
    if position.timeline > end.timeline:
        return 0
    limits = [lsn for ancestor, lsn in (*forks, (end.timeline, end.lsn)) if ancestor == position.timeline]
    return max(0, end.lsn - min([position.lsn, *limits])) if limits else end.lsn


def path(position: Position, timeline: int, wal_end: int, forks: Sequence[tuple[int, int]]) -> Path:
    """May a server at `position` stream from a holder on `timeline` whose WAL ends at `wal_end`?

    forks: the timelines the holder's one came from, each with the LSN at which it was left. FOLLOW when the position
    is on the holder's timeline at or below its end, or on such an ancestor at or below its fork. Anything else, an
    unknown timeline included, is DIVERGED: PostgreSQL would accept the stream, and take the follower's own replay
    position for a confirmation of WAL it never received (redteam, finding 1).
    """
    limits = [lsn for ancestor, lsn in (*forks, (timeline, wal_end)) if ancestor == position.timeline]
    return Path.FOLLOW if limits and position.lsn <= min(limits) else Path.DIVERGED
