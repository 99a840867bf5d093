"""PostgreSQL parameters in the settings: which names and values may be asked for, and what the running servers say.

The names are checked here, the values by the nodes: a question lies in the store for a moment, each node's agent asks
its own server and answers. Nothing is changed by it. May import core, pg, records, inventory and its neighbours in ops.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pgha import records
from pgha.core import limits
from pgha.core.model import Answer, Question
from pgha.errors import Busy, PghaError, Refused, UsageError
from pgha.ops.status import Seen, is_fresh
from pgha.ops.target import Target
from pgha.pg import parameters
from pgha.ports import Clock, Committed, Guard, Store, StoreDown, Write

ANSWER_S = 4.0
COMMIT_S = 2.0
OTHERS_S = 15.0  # another operator's question is waited for so long
ELSEWHERE = {
    "shared_preload_libraries": "a library",
    "session_preload_libraries": "a library",
    "local_preload_libraries": "a library",
    "dynamic_library_path": "a path",
    "listen_addresses": "an address",
    "archive_mode": "archiving",
    "archive_command": "a command",
    "archive_library": "a library",
    "archive_timeout": "archiving",
}
INVENTORY = "write it under postgres.parameters in the inventory, then: pgha bootstrap"

Ask = Callable[[Mapping[str, str]], Mapping[str, Answer]]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the servers say of a change: problems, all of them, and lines about how it comes into force."""

    problems: tuple[PghaError, ...] = ()
    lines: tuple[str, ...] = ()


def split(words: Sequence[str], own: Sequence[str]) -> tuple[list[str], dict[str, str], list[PghaError]]:
    """The words about pgha's own settings, the parameters by name, and what is wrong with these so far."""
    from pgha.inventory_section import nearest

    mine, found, problems = [], dict[str, str](), list[PghaError]()
    for word in words:
        name, equals, value = word.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or not value or not word.isprintable() or name in own:
            mine.append(word)
            continue
        low = name.lower()
        problem = _name_problem(low) or _value_problem(low, value)
        if problem is None and low in found:
            problem = UsageError(f"{low} is given twice")
        close = nearest(low, [*own, *parameters.ALLOWED])
        if problem is not None and problem.next_step == INVENTORY and close and low not in ELSEWHERE:
            problem = UsageError(problem.what, problem.because, f"did you mean {close}? else {INVENTORY}")
        if problem is not None:
            problems.append(problem)
        else:
            found[low] = value
    return mine, found, problems


def _name_problem(name: str) -> PghaError | None:
    from pgha import inventory_postgres

    owned = inventory_postgres.OWNED.get(name) or (inventory_postgres.RECOVERY if name.startswith("recovery_") else "")
    if owned:
        return UsageError(f"{name} is not the operator's to set", owned, "see docs/settings.md")
    if parameters.is_allowed(name):
        return None
    kind = ELSEWHERE.get(name) or _kind(name)
    why = (
        f"it names {kind}, and the store is trusted with none" if kind else "it is not among those that may be set here"
    )
    return UsageError(f"{name} can't be set while the cluster runs", why, INVENTORY)


def _kind(name: str) -> str:
    for parts, kind in (
        (("_command",), "a command"),
        (("_library", "_libraries"), "a library"),
        (("_file", "_directory", "_directories", "_path"), "a path"),
    ):
        if name.endswith(parts):
            return kind
    return "an extension's" if "." in name else ""


def _value_problem(name: str, value: str) -> PghaError | None:
    from pgha import inventory_postgres

    accepted, reason = inventory_postgres.ALLOWED.get(name, ((), ""))
    if not accepted or value == parameters.DEFAULT or value.lower() in accepted:
        return None
    return UsageError(f"{name}={value} is refused", reason, f"write {' or '.join(accepted[:2])}")


def merged(before: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """The parameters with this change; `default` takes one away."""
    both = {**before, **values}
    return {name: value for name, value in sorted(both.items()) if value != parameters.DEFAULT}


# -- the question --------------------------------------------------------------------------------------------


def asker(store: Store, clock: Clock, target: Target, seen: Seen, *, asked_by: str) -> Ask:
    """Asks the nodes that report; those that give no answer in time are not among the answers."""
    there = {m.node for m in seen.records.members.values() if is_fresh(m, seen.at)}

    def ask(values: Mapping[str, str]) -> Mapping[str, Answer]:
        question = Question(secrets.token_hex(8), dict(values), asked_by, round(seen.at, 3))
        _place(store, clock, target, seen, question)
        try:
            return _await(store, clock, target, question.ident, there)
        finally:
            _remove(store, clock, target, question.ident)

    return ask


def _place(store: Store, clock: Clock, target: Target, seen: Seen, question: Question) -> None:
    old = seen.records.question
    if old is not None and 0.0 <= seen.at - old.at < OTHERS_S:
        who = old.asked_by or "somebody"
        raise Busy(
            f"{who} is changing the settings", f"asked {seen.at - old.at:.0f} s ago", target.command("config show")
        )
    key = records.prefix(target.cluster) + "question"
    guard, write = Guard(key, seen.records.rev("question")), Write(key, records.dump_question(question))
    if not isinstance(store.commit([guard], [write], deadline_s=clock.now_s() + COMMIT_S), Committed):
        why = "somebody else asks them at this moment, or the store gave no answer"
        raise Busy("the nodes could not be asked", why, target.command("config show"))


def _await(store: Store, clock: Clock, target: Target, ident: str, there: set[str]) -> Mapping[str, Answer]:
    root, end, since = records.prefix(target.cluster), clock.now_s() + ANSWER_S, 0
    answers: Mapping[str, Answer] = {}
    while clock.now_s() < end and not there <= set(answers):
        if since:
            store.wait(root, since, deadline_s=min(end, clock.now_s() + 0.5))
        try:
            snap = store.read(root, deadline_s=clock.now_s() + COMMIT_S)
        except StoreDown:
            clock.sleep(0.1)
            continue
        since = snap.revision
        entries = {key: (entry.value, entry.revision) for key, entry in snap.entries.items()}
        found = records.parse_snapshot(target.cluster, snap.revision, entries)
        answers = {name: answer for name, answer in found.answers.items() if answer.ident == ident}
    return answers


def _remove(store: Store, clock: Clock, target: Target, ident: str) -> None:
    """Question and answers, as far as they are this one's; what is left changes nothing."""
    root = records.prefix(target.cluster)
    try:
        snap = store.read(root, deadline_s=clock.now_s() + COMMIT_S)
    except StoreDown:
        return
    entries = {key: (entry.value, entry.revision) for key, entry in snap.entries.items()}
    found = records.parse_snapshot(target.cluster, snap.revision, entries)
    keys = [f"answers/{name}" for name, answer in found.answers.items() if answer.ident == ident]
    keys += ["question"] if found.question is not None and found.question.ident == ident else []
    for key in keys:
        full = root + key
        store.commit([Guard(full, found.rev(key))], [Write(full, None)], deadline_s=clock.now_s() + COMMIT_S)


# -- the judgement -------------------------------------------------------------------------------------------


def judged(target: Target, values: Mapping[str, str], answers: Mapping[str, Answer]) -> Judged:
    """What the running servers make of these values. Pure."""
    if not answers:
        why = "no node's server answered"
        return Judged((Refused("the parameters could not be checked", why, target.command("list")),))
    problems, lines = list[PghaError](), list[str]()
    for name, value in values.items():
        found = _problems(name, value, answers)
        problems += found
        if not found:
            lines += _effect(target, name, value, answers)
    silent = sorted({ref.name for ref in target.nodes} - set(answers))
    if silent:
        lines.append(f"not asked: {', '.join(silent)}; {'it takes' if len(silent) == 1 else 'they take'} it when back")
    return Judged(tuple(problems), tuple(lines))


def _problems(name: str, value: str, answers: Mapping[str, Answer]) -> list[PghaError]:
    """Told once, with the nodes that say so."""
    said: dict[tuple[str, str], list[str]] = {}
    for node, answer in sorted(answers.items()):
        fact = answer.facts.get(name)
        if fact is None:
            said.setdefault((f"{name} is unknown", "this version of PostgreSQL has no such parameter"), []).append(node)
            continue
        why = "" if value == parameters.DEFAULT else parameters.problem(value, fact)
        if why:
            said.setdefault((f"{name}={value} is refused", why), []).append(node)
    return [UsageError(f"{', '.join(nodes)}: {what}", why) for (what, why), nodes in said.items()]


def _lowers(name: str, value: str, running: str) -> bool:
    if name not in limits.ORDERED:
        return False
    new, now = limits.whole(value), limits.whole(running)
    return new is not None and now is not None and new < now


def _effect(target: Target, name: str, value: str, answers: Mapping[str, Answer]) -> list[str]:
    facts = {node: answer.facts[name] for node, answer in answers.items()}
    later = sorted(node for node, fact in facts.items() if parameters.needs_start(fact) and fact.value != value)
    if not later:
        return []
    running, step = "/".join(sorted({facts[n].value for n in later})), target.command("restart --rolling --pending")
    lowers = any(_lowers(name, value, fact.value) for fact in facts.values())
    order = "; the primary first, in place" if lowers else "; the standbys first" if name in limits.ORDERED else ""
    where = " where that is not the default" if value == parameters.DEFAULT else ""
    return [f"{name}: {running} until {', '.join(later)} restart{where}{order}: {step}"]
