"""The take-overs as the store's history holds them. Pure; may import core, records, errors and ops.target.

An event is written by the new primary once clients are back. Its phases are counted from the moment that node saw the
leader key free: a silent holder's H lies before, and is not in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pgha.core.model import Event, Settings
from pgha.errors import UsageError
from pgha.ops import plans
from pgha.ops.story import Log, Story, tell
from pgha.ops.target import Target
from pgha.records import Records


@dataclass(frozen=True, slots=True)
class Phase:
    """at_ms: when it ended, counted from the key being free. took_ms: since the phase before."""

    name: str
    at_ms: float
    took_ms: float


@dataclass(frozen=True, slots=True)
class TakeOver:
    """One take-over.

    before_s: since the take-over recorded before this one, by their writers' clocks; None when there is none.
    skipped: epochs between the two without a record, the newest ten. story: by the nodes' logs, where they were read.
    """

    cluster: str
    event: Event
    phases: tuple[Phase, ...]
    writable_ms: float | None
    before_s: float | None
    skipped: tuple[int, ...]
    story: Story | None = None


@dataclass(frozen=True, slots=True)
class History:
    """shown: newest first. older: how many more there are. more: the command that shows them all."""

    cluster: str
    shown: tuple[TakeOver, ...]
    older: int
    notes: tuple[str, ...]
    more: str


def phases_of(event: Event) -> tuple[Phase, ...]:
    """In the order they ended; what can't have been (negative, or no number) is left out."""
    ended = sorted((at, name) for name, at in event.phases_ms.items() if 0.0 <= at < 1e9)
    found, before = [], 0.0
    for at, name in ended:
        found.append(Phase(name, at, at - before))
        before = at
    return tuple(found)


def _writable_ms(event: Event) -> float | None:
    return next((p.at_ms for p in phases_of(event) if p.name == "writable"), None)


def _take_over(cluster: str, found: Records, event: Event) -> TakeOver:
    earlier = [e for e in found.history if e < event.epoch]
    last = max(earlier, default=None)
    before = found.history[last] if last is not None else None
    return TakeOver(
        cluster=cluster,
        event=event,
        phases=phases_of(event),
        writable_ms=_writable_ms(event),
        before_s=max(0.0, event.at - before.at) if before and before.at and event.at else None,
        skipped=tuple(range(last + 1, event.epoch))[-10:] if last is not None else (),
    )


def with_story(one: TakeOver, found: Records, logs: Mapping[str, Log]) -> TakeOver:
    """The same, with what the nodes' logs say of it."""
    earlier = [event.at for epoch, event in found.history.items() if epoch < one.event.epoch]
    h_s = (found.settings or Settings()).failover_after_s
    return replace(one, story=tell(one.event, max(earlier, default=0.0), logs, h_s))


def _notes(found: Records) -> tuple[str, ...]:
    left = tuple(f"key {p.key} is left alone: {p.why}" for p in found.problems if p.key.startswith("history/"))
    return left + plans.dropped(found)


def history(target: Target, found: Records, count: int) -> History:
    """The newest `count` take-overs."""
    newest = sorted(found.history, reverse=True)
    shown = tuple(_take_over(target.cluster, found, found.history[epoch]) for epoch in newest[:count])
    more = target.command(f"history -n {len(newest)}")
    return History(target.cluster, shown, max(0, len(newest) - count), _notes(found), more)


def takeover(target: Target, found: Records, epoch: int) -> TakeOver:
    """That one. Raises UsageError, with the epochs known, when there is no record of it."""
    event = found.history.get(epoch)
    if event is None:
        known = sorted(found.history)
        why = f"recorded: {known[0]} to {known[-1]}" if known else "no take-over is recorded yet"
        near = [*[k for k in known if k < epoch][-1:], *[k for k in known if k > epoch][:1]]
        why += f"; nearest: {' and '.join(str(e) for e in near)}" if near else ""
        why = "; ".join((why, *(n for n in _notes(found) if n.startswith(f"key history/{epoch} "))))
        raise UsageError(f"there is no record of epoch {epoch} in {target.cluster}", why, target.command("history"))
    return _take_over(target.cluster, found, event)
