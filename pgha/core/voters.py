"""Synchronous standbys: how many, by which names, and the half-steps from one rule to the next.

Duty: pure. May import pgha.core.model only.

The invariant (design, section 6): every commit that PostgreSQL may have acknowledged, under the setting in force or
under an older one that some process still evaluates, satisfies a rule listed in `sync`. Why each half-step keeps it:

AddEntry      the entry is in the store before the setting: listing a rule nobody uses yet only makes cover harder.
ChangeNames   from then on commits go by the new rule, which is listed. A walsender that has not read the setting yet,
              or stands in the middle of releasing waiters, still evaluates the old one (redteam, finding 4), which is
              listed too. With a barrier in between (a name nobody has, until every walsender shows priority 0 and a
              commit is seen waiting) nobody does any more. Without one only when the old setting lets nothing through
              that the new one would not: same k, fewer voters, and the removed ones have no walsender that counts;
              or when the new rule is the holder alone.
ReadMark      the WAL end, read now: whatever was acknowledged under an older rule lies at or below it.
WaitFlush     k of the new voters flushed the mark. Then any n - k + 1 of them include one that has it: what the older
              entries promised satisfies the last one too. (Without voters it asks for the holder, who has it anyway.)
DropEntries   so the older entries promise nothing that the last one does not.

Entries of earlier holders go the same way: the holder claimed with cover, so its own WAL below the mark contains what
they promised. Each step is derived anew from what is seen; nothing is remembered, and a crash between two half-steps
is one more look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, takewhile

from pgha.core.model import BARRIER, Copy, Rule

SILENT_S = 2.0  # a standby replies every second (wal_receiver_status_interval): who is silent so long is missing
MAX_ENTRIES = 4  # beyond, a change of voters is finished before another one starts

_SETTING = re.compile(
    r'\s*ANY\s+([1-9][0-9]{0,2})\s*\(\s*("[^"]*"(?:\s*,\s*"[^"]*")*)\s*\)\s*', re.ASCII | re.IGNORECASE
)
_NAME = re.compile(r"[a-z0-9-]{1,40}\.[a-z0-9-]{1,40}\.(?:0|[1-9][0-9]{0,18})")


def default_copies(n: int) -> int:
    """k for n voters when nobody set it: n - k + 1 seals are then a majority of the nodes without the holder."""
    return (n + 1) // 2


def copies_for(n: int, configured: int) -> int:
    """k for n voters; configured 0 means the default; never more than there are voters, never 0 with voters."""
    assert n >= 0 and configured >= 0, f"n={n}, configured={configured}"
    return min(configured, n) if configured else default_copies(n)


def names(rule: Rule, epoch: int) -> str:
    """The text of synchronous_standby_names for this rule: quoted, sorted, of this epoch; '' when it has no voters."""
    if not rule.voters:
        return ""
    return f"ANY {rule.k} ({', '.join(sorted(_quoted(rule, epoch)))})"


def _quoted(rule: Rule, epoch: int) -> list[str]:
    found = [voter.standby_name(epoch) for voter in rule.voters]
    # `"*"` matches everybody, and names are compared without case: only what can't be misread is written.
    assert all(_NAME.fullmatch(name) for name in found), f"not a standby name: {found}"
    return [f'"{name}"' for name in found]


def setting_for(rule: Rule, epoch: int, durability: str) -> str:
    """What the holder sets for this rule: its names, but under `strict` a rule without voters lets nothing through."""
    return barrier() if durability == "strict" and not rule.voters else names(rule, epoch)


def barrier() -> str:
    """The setting under which nothing is acknowledged: it waits for a name nobody has."""
    return f'ANY 1 ("{BARRIER}")'


def parse_names(text: str) -> tuple[int, frozenset[str]] | None:
    """k and the names of a setting that pgha wrote ((0, nothing) for ''); None for anything else.

    Blanks and the case of ANY are free; names are not: only pgha's, quoted, no duplicates, no more copies than names.
    """
    if not text.strip():
        return 0, frozenset()
    match = _SETTING.fullmatch(text)
    if not match:
        return None
    found = re.findall(r'"([^"]*)"', match[2])
    if len(set(found)) != len(found) or int(match[1]) > len(found):
        return None
    if found != [BARRIER] and not all(_NAME.fullmatch(name) for name in found):
        return None
    return int(match[1]), frozenset(found)


@dataclass(frozen=True, slots=True)
class Follower:
    """A walsender of the holder, as pg_stat_replication shows it.

    epoch: from its name. flush: LSN it confirmed. silent_s: since its last reply. caught_up: it has the holder's
    present WAL but for what is under way.
    """

    copy: Copy
    epoch: int
    streaming: bool
    flush: int
    sync_priority: int
    silent_s: float
    caught_up: bool


@dataclass(frozen=True, slots=True)
class VoterView:
    """What the holder sees when it looks after its voters.

    names_now: synchronous_standby_names in force. missing_s: how long a present voter has not been streaming.
    marked_lsn: WAL end read after the present names came into force; None: not read since.
    keep_out: copies that must not be voters now.
    """

    me: Copy
    epoch: int
    sync: tuple[Rule, ...]
    names_now: str
    followers: tuple[Follower, ...]
    missing_s: Mapping[Copy, float]
    configured_copies: int
    drop_after_s: float
    durability: str
    marked_lsn: int | None
    keep_out: frozenset[Copy] = frozenset()


@dataclass(frozen=True, slots=True)
class Settled:
    """One entry, in force, as wanted: nothing to do."""


@dataclass(frozen=True, slots=True)
class AddEntry:
    """Append this rule to `sync` (a renewal)."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class ChangeNames:
    """Set synchronous_standby_names to `text`, through the barrier if it says so; any mark is void. Then nudge."""

    rule: Rule
    barrier: bool
    text: str


@dataclass(frozen=True, slots=True)
class ReadMark:
    """Read the WAL end now."""


@dataclass(frozen=True, slots=True)
class WaitFlush:
    """Wait until `need` voters have flushed `lsn`; `have` did."""

    lsn: int
    have: int
    need: int


@dataclass(frozen=True, slots=True)
class DropEntries:
    """Leave only this rule, the last, in `sync` (a renewal)."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class ClearEntries:
    """durability async: leave nothing in `sync` (a renewal); nothing is promised from here on."""


Step = Settled | AddEntry | ChangeNames | ReadMark | WaitFlush | DropEntries | ClearEntries


def wanted(view: VoterView) -> Rule:
    """The rule that should be in force: who votes now and is not gone for too long, and who follows and has caught up.

    durability async: no voters. strict: never fewer than one voter; rather the last rule stays and commits wait.
    """
    alone = Rule(view.me, frozenset(), 0)
    if view.durability == "async":
        return alone
    here = (f for f in view.followers if f.epoch == view.epoch and f.streaming and f.silent_s <= SILENT_S)
    joining = {f.copy for f in here if f.caught_up}
    joining -= view.keep_out | {view.me}
    # A node has one copy: once its new one streams, a clone's predecessor is no voter any more.
    back = {c.node for c in joining}
    staying = {c for c in _staying(view) if c in joining or c.node not in back}
    return _rule_of(view, frozenset(staying | joining))


def _staying(view: VoterView) -> frozenset[Copy]:
    """The last entry's voters, except those missing too long and those to be kept out."""
    present = view.sync[-1].voters if view.sync else frozenset()
    gone = {c for c in present if view.missing_s.get(c, 0.0) > view.drop_after_s}
    return present - gone - view.keep_out


def _rule_of(view: VoterView, chosen: frozenset[Copy]) -> Rule:
    if not chosen and view.durability == "strict" and view.sync:
        return view.sync[-1]
    return Rule(view.me, chosen, copies_for(len(chosen), view.configured_copies))


def next_step(view: VoterView) -> Step:
    """The next half-step towards `wanted`, from what is seen alone.

    At most MAX_ENTRIES entries, except that a last entry whose voters went away may still shrink (else it could never
    be finished). Raises AssertionError when the last entry is another holder's: then this node is not to ask.
    """
    assert not view.sync or view.sync[-1].holder == view.me, f"{view.me} asks, but the last entry is {view.sync[-1]}"
    if view.durability == "async":
        return _async_step(view)
    missing_entry = _entry_to_add(view)
    if missing_entry:
        return AddEntry(missing_entry)
    last = view.sync[-1]
    text = setting_for(last, view.epoch, view.durability)
    if parse_names(view.names_now) != parse_names(text) or _removed_still_count(view, last):
        return ChangeNames(last, not _needs_no_barrier(view, last), text)
    if len(view.sync) == 1:
        return Settled()
    return _finish(view, last)


def _async_step(view: VoterView) -> Step:
    """The promises are given up first, by the operator's word, and then nothing waits."""
    if view.sync:
        return ClearEntries()
    return Settled() if view.names_now == "" else ChangeNames(wanted(view), False, "")


def _entry_to_add(view: VoterView) -> Rule | None:
    """The entry that must be listed before anything else: for what is in force, else for what is wanted; None: none."""
    if not _described(view):
        return Rule(view.me, frozenset(), 0)
    last, target, staying = view.sync[-1], wanted(view), _staying(view)
    if len(view.sync) >= MAX_ENTRIES and (staying or view.durability != "strict"):
        target = _rule_of(view, staying) if staying != last.voters else last
    return None if target == last else target


def _described(view: VoterView) -> bool:
    """True when `sync` lists the setting in force (an entry without voters describes any: the holder has it all).

    Of this holder's entries only those after any other's: an older one may be covered by a holder that came between.
    False after `async`, or when somebody else changed the setting.
    """
    mine = list(takewhile(lambda rule: rule.holder == view.me, reversed(view.sync)))
    texts = [barrier(), *(names(rule, view.epoch) for rule in mine)]
    matches = parse_names(view.names_now) in [parse_names(text) for text in texts]
    return any(not rule.voters for rule in mine) or (matches and bool(mine))


def _removed_still_count(view: VoterView, last: Rule) -> bool:
    """A follower without a place in the rule, but with a priority: its walsender goes by an older setting."""
    return bool(last.voters) and any(f.sync_priority > 0 and not _votes(view, last, f) for f in view.followers)


def _votes(view: VoterView, rule: Rule, follower: Follower) -> bool:
    return follower.epoch == view.epoch and follower.copy in rule.voters


def _needs_no_barrier(view: VoterView, last: Rule) -> bool:
    now = parse_names(view.names_now)
    if not last.voters:
        return True
    if now is None or now[0] != last.k or _removed_still_count(view, last):
        return False
    return {v.standby_name(view.epoch) for v in last.voters} <= now[1]


def _finish(view: VoterView, last: Rule) -> Step:
    """The last entry is in force: bring its voters up to the mark, then drop the others."""
    if not last.voters:
        return DropEntries(last)
    if view.marked_lsn is None:
        return ReadMark()
    seen = [f for f in view.followers if f.streaming and f.flush >= view.marked_lsn]
    have = {f.copy for f in seen if _votes(view, last, f)}
    if len(have) < last.k:
        return WaitFlush(view.marked_lsn, len(have), last.k)
    return DropEntries(last)


def survivable_losses(rules: Iterable[Rule], alive: Iterable[Copy]) -> int:
    """How many more nodes, the primary among them, may die at one moment with the rest going on by itself.

    rules: `sync`, the primary being the last one's holder. alive: the other copies that could seal now. Counted by
    trying all: the worst choice of that many nodes must leave somebody who has cover. Without rules (async) anybody
    left may go on.
    """
    listed = tuple(rules)
    others = sorted(set(alive) - {rule.holder for rule in listed[-1:]})
    lost = 0
    while lost <= len(others) and all(
        _goes_on(listed, frozenset(others).difference(dead)) for dead in combinations(others, lost)
    ):
        lost += 1
    return lost


def _goes_on(rules: tuple[Rule, ...], left: frozenset[Copy]) -> bool:
    """Somebody left, all sealed, has cover: the one with the highest position counts all of them."""
    covered = (
        len(rule.voters & left) >= len(rule.voters) - rule.k + 1 or any(later.holder in left for later in rules[i:])
        for i, rule in enumerate(rules)
    )
    return bool(left) and all(covered)
