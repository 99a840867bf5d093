"""The dynamic settings: show them, plan a change, write it, see it in force.

The key `config` holds them, typed; agents read it at every look. A change is checked as the inventory is, by the same
code, and written by CAS on what was shown. A new setting is one row of SETTINGS and a field of `core.model.Settings`.
May import core, records, inventory and its neighbours in ops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgha import records
from pgha.core.model import Leader, Settings, Tenure
from pgha.errors import Busy, Findings, OutcomeUnknown, PghaError, Refused, StoreUnreachable
from pgha.ops import parameters
from pgha.ops.status import Seen, is_fresh
from pgha.ops.target import Target
from pgha.ports import Clock, Conflict, Guard, Store, StoreDown, Unknown, Write

if TYPE_CHECKING:
    from pgha.inventory_model import HaSpec

COMMIT_S = 2.0
FORCE_S = 15.0  # so long the command watches a change come into force
LOOK_S = 0.1
KEPT = 50  # earlier revisions
DEFAULT = "default"  # as a parameter's value: none of its own
UNITS = ("B", "kB", "MB", "GB", "TB")


def size_text(count: int) -> str:
    """Bytes exactly, as a setting is written: 16MB, 1000B."""
    unit = 0
    while count and count % 1024 == 0 and unit < len(UNITS) - 1:
        count, unit = count // 1024, unit + 1
    return f"{count}{UNITS[unit]}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. text: of its value; fixed: why it can't be changed while the cluster runs, "" when it can."""

    name: str
    meaning: str
    text: Callable[[Settings], str]
    fixed: str = ""


SETTINGS = (
    Setting("durability", "what a commit waits for: quorum, strict or async", lambda s: s.durability),
    Setting("copies", "standbys that must have a commit; 0: half of the voters", lambda s: str(s.copies)),
    Setting("max_lag", "async: who lacks more does not take over by itself", lambda s: size_text(s.max_lag)),
    Setting(
        "failover_after",
        "silence after which another node takes over",
        lambda s: f"{s.failover_after_s:g}s",
        # Two agents with different H would break F_hard + kill + rate + polling <= H between them.
        "agents take it when they start, and two that go by different times would not keep one writer",
    ),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One setting, before and after, as text."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A change that may be written. revision: of the key it replaces. gives_up: what is no longer promised.

    effects: how parameters come into force. older: keys of earlier revisions that are there.
    """

    before: Settings
    after: Settings
    revision: int
    changes: tuple[Change, ...]
    gives_up: tuple[str, ...]
    effects: tuple[str, ...] = ()
    older: frozenset[str] = frozenset()

    def lines(self, cluster: str) -> list[str]:
        """What the operator reads before the question."""
        page = [f"plan: change the settings of {cluster}  (revision {self.before.revision} -> {self.after.revision})"]
        for change in self.changes:
            page += [f"  - {change.name}={change.before}"] if change.before else []
            page += [f"  + {change.name}={change.after}"] if change.after else []
        page += [f"  {text}" for text in self.effects]
        return [*page, *(f"  gives up: {text}" for text in self.gives_up), "  writes go on meanwhile"]


def current(target: Target, seen: Seen) -> Settings:
    """The settings as the store has them. Raises StoreUnreachable, Refused."""
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    found = seen.records.settings
    if found is None:
        there = "config" in seen.records.revisions
        why = "the key config can't be understood" if there else "there is no key config"
        raise Refused("the settings can't be read", why, target.command("list"))
    return found


@dataclass(frozen=True, slots=True)
class By:
    """Who changes the settings, when (wall clock) and why."""

    asked_by: str = ""
    at: float = 0.0
    reason: str = ""


def plan(target: Target, seen: Seen, words: Sequence[str], *, ask: parameters.Ask | None = None, by: By = By()) -> Plan:
    """The change that these `key=value` ask for, checked by the running servers. Raises Findings, Refused,
    StoreUnreachable."""
    from pgha import inventory_ha  # YAML is loaded for it

    before = current(target, seen)
    own, values, problems = parameters.split(words, [s.name for s in SETTINGS])
    ha = _as_ha(before)
    try:
        ha = inventory_ha.changed(own, len(target.nodes), ha)
    except Findings as e:
        problems += e.problems
    after = replace(
        before, failover_after_s=ha.failover_after_s, durability=ha.durability, copies=ha.copies, max_lag=ha.max_lag
    )
    after = replace(after, parameters=parameters.merged(before.parameters, values))
    return _checked(target, seen, before, after, problems, ask=ask, by=by)


def plan_back(target: Target, seen: Seen, older: Settings, *, ask: parameters.Ask | None = None, by: By = By()) -> Plan:
    """The change back to an earlier revision, as a new one. Raises as `plan`."""
    before = current(target, seen)
    return _checked(target, seen, before, replace(older, revision=before.revision), [], ask=ask, by=by)


def _checked(
    target: Target,
    seen: Seen,
    before: Settings,
    after: Settings,
    problems: list[PghaError],
    *,
    ask: parameters.Ask | None,
    by: By,
) -> Plan:
    """All problems in one pass; then the plan."""
    values = {c.name: c.after or DEFAULT for c in _parameter_changes(before, after)}
    judged = parameters.judged(target, values, ask(values)) if values and ask is not None else parameters.Judged()
    problems = [*problems, *judged.problems]
    if problems:
        raise Findings(problems)
    found = [(s, s.text(before), s.text(after)) for s in SETTINGS]
    changes = tuple(Change(s.name, old, new) for s, old, new in found if old != new)
    for setting in SETTINGS:
        if setting.fixed and any(c.name == setting.name for c in changes):
            raise Refused(f"{setting.name} can't be changed while the cluster runs", setting.fixed)
    changes += _parameter_changes(before, after)
    if not changes:
        raise Refused("nothing would change", "the settings are so already", target.command("config show"))
    after = replace(after, revision=before.revision + 1, asked_by=by.asked_by, at=by.at, reason=by.reason)
    older = frozenset(key for key in seen.records.revisions if key.startswith("settings/"))
    gives_up = _gives_up(before, after, seen.records.leader)
    return Plan(before, after, seen.records.rev("config"), changes, gives_up, judged.lines, older)


def _parameter_changes(before: Settings, after: Settings) -> tuple[Change, ...]:
    old, new = before.parameters, after.parameters
    names = sorted({**old, **new})
    return tuple(Change(n, old.get(n, ""), new.get(n, "")) for n in names if old.get(n) != new.get(n))


def _as_ha(settings: Settings) -> HaSpec:
    from pgha.inventory_model import HaSpec

    return HaSpec(settings.failover_after_s, settings.durability, settings.copies, settings.max_lag)


def _gives_up(before: Settings, after: Settings, leader: Leader | None) -> tuple[str, ...]:
    """What an operator can no longer rely on, in a sentence each."""
    said = []
    if after.durability == "async" and before.durability != "async":
        said.append("a commit that returned may be lost at a failover, those acknowledged before included")
        said.append(f"by itself a node takes over that lacks up to {size_text(after.max_lag)} of the WAL known of")
    elif after.durability == "async" and after.max_lag > before.max_lag:
        said.append(f"up to {size_text(after.max_lag)} of the WAL known of may be lost at a failover")
    if before.durability == "strict" and after.durability == "quorum":
        said.append("with no voter left commits no longer wait: they exist once")
    if after.durability == "strict" and before.durability != "strict":
        said.append("with no voter left commits wait, and nobody can write until one is back")
    voters = len(leader.sync[-1].voters) if leader is not None and leader.sync else 0
    now, then = (s.copies or (voters + 1) // 2 for s in (before, after))
    if after.durability != "async" and then < now:
        said.append(f"a commit is on {then} standby{'' if then == 1 else 's'}, no longer on {now}")
    return tuple(said)


def write(store: Store, clock: Clock, target: Target, chosen: Plan) -> None:
    """By CAS on the key that was shown. Raises Busy when somebody was quicker, OutcomeUnknown."""
    root = records.prefix(target.cluster)
    value, number = records.dump_settings(chosen.after), chosen.after.revision
    before, dropped = f"settings/{chosen.before.revision}", f"settings/{number - KEPT}"
    writes = [Write(root + "config", value), Write(f"{root}settings/{number}", value)]
    writes += [Write(root + before, records.dump_settings(chosen.before))] if before not in chosen.older else []
    writes += [Write(root + dropped, None)] if dropped in chosen.older else []
    done = store.commit([Guard(root + "config", chosen.revision)], writes, deadline_s=clock.now_s() + COMMIT_S)
    if isinstance(done, Conflict):
        raise Busy("the settings have changed meanwhile", "somebody else was quicker", target.command("config show"))
    if isinstance(done, Unknown) and _settings_now(store, clock, target) != chosen.after:
        raise OutcomeUnknown("the change may or may not be in the store", done.why, target.command("config show"))


def _read(store: Store, clock: Clock, target: Target) -> records.Records | None:
    try:
        seen = store.read(records.prefix(target.cluster), deadline_s=clock.now_s() + COMMIT_S)
    except StoreDown:
        return None
    entries = {key: (entry.value, entry.revision) for key, entry in seen.entries.items()}
    return records.parse_snapshot(target.cluster, seen.revision, entries)


def _settings_now(store: Store, clock: Clock, target: Target) -> Settings | None:
    found = _read(store, clock, target)
    return found.settings if found is not None else None


def is_in_force(settings: Settings, found: records.Records) -> bool:
    """The holder's rules are what these settings ask for: none under async, else one that is settled."""
    leader = found.leader
    if found.settings != settings or leader is None or leader.tenure is not Tenure.HELD:
        return False
    if settings.durability == "async":
        return not leader.sync
    if len(leader.sync) != 1:
        return False
    (rule,) = leader.sync
    count = len(rule.voters)
    if not count and any(m.state == "streaming" for m in found.members.values()):
        return False  # on its way from async
    return rule.k == (min(settings.copies, count) if settings.copies else (count + 1) // 2)


def await_force(store: Store, clock: Clock, target: Target, settings: Settings) -> bool:
    """Whether the holder has followed, watched for at most FORCE_S."""
    end = clock.now_s() + FORCE_S
    while True:
        found = _read(store, clock, target)
        if found is not None and is_in_force(settings, found):
            return True
        if clock.now_s() >= end:
            return False
        clock.sleep(LOOK_S)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Which nodes run the settings' revision, which report and do not yet (node: why), and which are silent."""

    done: tuple[str, ...]
    behind: Mapping[str, str]
    silent: tuple[str, ...]


def acknowledged(target: Target, seen: Seen, revision: int) -> Acknowledged:
    """By what the nodes say. Pure."""
    members = seen.records.members
    names = sorted({ref.name for ref in target.nodes} | set(members))
    fresh = [n for n in names if is_fresh(members.get(n), seen.at)]
    behind = {}
    for name in fresh:
        member = members[name]
        if member.refused:
            behind[name] = member.refused
        elif member.settings < revision:
            behind[name] = f"it has revision {member.settings}"
    done = tuple(n for n in fresh if n not in behind)
    return Acknowledged(done, behind, tuple(n for n in names if n not in fresh))


def await_nodes(look: Callable[[], Seen], clock: Clock, target: Target, revision: int) -> Acknowledged:
    """Until every node that reports runs this revision or has refused it, for at most FORCE_S."""
    end = clock.now_s() + FORCE_S
    while True:
        seen = look()
        found = acknowledged(target, seen, revision)
        open_yet = [n for n in found.behind if not seen.records.members[n].refused]
        if (not open_yet and not seen.down) or clock.now_s() >= end:
            return found
        clock.sleep(LOOK_S)


def past(store: Store, clock: Clock, target: Target) -> dict[int, Settings]:
    """The revisions that are kept, oldest first, the present one last. Raises StoreUnreachable."""
    root = records.prefix(target.cluster)
    try:
        found = store.read(root, deadline_s=clock.now_s() + COMMIT_S).entries
    except StoreDown as e:
        raise StoreUnreachable("the store gave no answer", e.why, target.command("list")) from e
    read = []
    for key, entry in found.items():
        if key == root + "config" or key.startswith(root + "settings/"):
            read.append(records.parse_value(key, entry.value, records.parse_settings))
    return {s.revision: s for s in sorted((s for s in read if isinstance(s, Settings)), key=lambda s: s.revision)}


def differences(before: Settings, after: Settings) -> tuple[Change, ...]:
    """What the second says otherwise."""
    found = [Change(s.name, s.text(before), s.text(after)) for s in SETTINGS]
    return (*(c for c in found if c.before != c.after), *_parameter_changes(before, after))


def node_lines(nodes: Acknowledged, found: Settings, pending: Mapping[str, Mapping[str, tuple[str, str]]]) -> list[str]:
    """For `config show`: which revision the nodes run, and what waits for a restart."""
    who = f", by {found.asked_by}" if found.asked_by else ""
    why = f": {found.reason}" if found.reason else ""
    lines = [f"# revision {found.revision}{who}{why}", f"# in force on {', '.join(nodes.done) or 'no node'}"]
    lines += [f"# {name}: {said}" for name, said in nodes.behind.items()]
    lines += [f"# {name} is silent" for name in nodes.silent]
    for name, waits in pending.items():
        lines += [f"# {name} waits for a restart: {p} {now} -> {coming}" for p, (now, coming) in sorted(waits.items())]
    return lines


def words_of(text: str, before: Settings) -> list[str]:
    """An edited page as `key=value` words: what it says otherwise, and `default` for what was taken away."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    given = [line for line in lines if line]
    names = {line.partition("=")[0].strip().lower() for line in given}
    old = {f"{s.name}={s.text(before)}" for s in SETTINGS} | {f"{n}={v}" for n, v in before.parameters.items()}
    gone = [f"{name}={DEFAULT}" for name in before.parameters if name not in names]
    return [*(line for line in given if line not in old), *gone]
