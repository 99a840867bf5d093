"""Store JSON and core values, both ways. Junk becomes a `Problem`, never an exception and never a guess.

May import `pgha.core` and `records_*` only.
Every value carries `schema`; an unknown schema is a problem, an unknown field is ignored (a newer node may write it).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from pgha.core.model import (
    Answer,
    Cluster,
    Event,
    Leader,
    Member,
    Order,
    Pause,
    Position,
    Question,
    Rule,
    Seal,
    Settings,
    Tenure,
    format_lsn,
)
from pgha.core.planned import Planned
from pgha.records_json import SCHEMA, Reader, copy_of, dump, lsn_of, other_form, pairs_of, text_of
from pgha.records_measures import measures_body, parse_measures
from pgha.records_schedule import parse_planned
from pgha.records_settings import dump_answer as dump_answer
from pgha.records_settings import dump_question as dump_question
from pgha.records_settings import dump_settings as dump_settings
from pgha.records_settings import parse_answer as parse_answer
from pgha.records_settings import parse_question as parse_question
from pgha.records_settings import parse_settings as parse_settings

T = TypeVar("T")
ROOT = "/pgha/"


def prefix(cluster: str) -> str:
    """Everything of a cluster lives under this."""
    return f"{ROOT}{cluster}/"


@dataclass(frozen=True, slots=True)
class Problem:
    """A key that can't be understood: left alone, named to the operator."""

    key: str
    why: str


@dataclass(frozen=True, slots=True)
class Records:
    """What a snapshot of the cluster's prefix says, parsed. `revisions` holds each key's own (short names)."""

    revision: int = 0
    cluster: Cluster | None = None
    settings: Settings | None = None
    leader: Leader | None = None
    members: Mapping[str, Member] = field(default_factory=dict)
    order: Order | None = None
    history: Mapping[int, Event] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    requests: Mapping[str, Order] = field(default_factory=dict)
    question: Question | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict)
    planned: Mapping[str, Planned] = field(default_factory=dict)

    def rev(self, key: str) -> int:
        """The key's revision, 0 when it is absent."""
        return self.revisions.get(key, 0)


# -- to JSON -------------------------------------------------------------------------------------------------


def _position(p: Position) -> dict[str, object]:
    return {"timeline": p.timeline, "lsn": format_lsn(p.lsn)}


def _rule(r: Rule) -> dict[str, object]:
    return {"holder": str(r.holder), "voters": sorted(str(v) for v in r.voters), "k": r.k}


def dump_leader(v: Leader) -> bytes:
    """The value of `leader`."""
    return dump(
        {
            "holder": str(v.holder),
            "incarnation": v.incarnation,
            "epoch": v.epoch,
            "beat": v.beat,
            "tenure": v.tenure.value,
            "sync": [_rule(r) for r in v.sync],
            "position": _position(v.position),
            "clean": v.clean,
            "checkpointed": v.checkpointed,
            "forks": [[t, format_lsn(n)] for t, n in v.forks],
            "target": v.target,
            "reason": v.reason,
            "loss_bytes": v.loss_bytes,
            "kept": [str(c) for c in v.kept],
            "source": v.source,
            "asked_by": v.asked_by,
            "paused": v.paused and {name: getattr(v.paused, name) for name in Pause.__slots__},
            "unwell": v.unwell,
        }
    )


_PLAIN = (
    *("node", "incarnation", "beat", "host", "port", "data", "state", "primary", "upstream_epoch", "follows"),
    *("priority", "nofailover", "nosync", "clonefrom", "noloadbalance", "follow", "version", "postgres", "problem"),
    *("rule", "settings", "refused"),
)


def dump_member(v: Member) -> bytes:
    """The value of `members/<node>`."""
    seal = v.seal and {"revision": v.seal.revision, "copy": str(v.seal.copy), "position": _position(v.seal.position)}
    return dump(
        {
            **{name: getattr(v, name) for name in _PLAIN},
            "position": _position(v.position),
            "replay": _position(v.replay),
            "seal": seal,
            "written_at": round(v.written_at, 3),
            "standbys": {name: [state, format_lsn(lsn)] for name, (state, lsn) in v.standbys.items()},
            "kept": list(v.kept),
            "pending": {name: list(pair) for name, pair in v.pending.items()},
            "limits": dict(v.limits),
            "measures": measures_body(v.measures),
        }
    )


def dump_order(v: Order) -> bytes:
    """The value of `request`."""
    body: dict[str, object] = {name: getattr(v, name) for name in Order.__slots__}
    return dump(body | {"gives_up": [_rule(r) for r in v.gives_up]})


def dump_cluster(v: Cluster) -> bytes:
    """The value of `cluster`."""
    return dump({name: getattr(v, name) for name in Cluster.__slots__})


def dump_event(v: Event) -> bytes:
    """The value of `history/<epoch>`."""
    body: dict[str, object] = {name: getattr(v, name) for name in Event.__slots__}
    return dump(body | {"position": _position(v.position), "phases_ms": dict(v.phases_ms)})


# -- from JSON -----------------------------------------------------------------------------------------------


def _parse_rule(body: object) -> Rule:
    r = Reader(body)
    holder, k = r.copy("holder"), r.count("k")
    voters = frozenset(copy_of(v) for v in r.get("voters", list))
    if k > len(voters) or (voters and not k) or holder in voters:
        raise ValueError(f"impossible rule: k={k} of {len(voters)}")
    return Rule(holder, voters, k)


def _fork(pair: object) -> tuple[int, int]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise ValueError(f"not a fork: {pair!r}"[:120])
    return Reader({"timeline": pair[0]}).count("timeline"), lsn_of(pair[1])


def _pause(body: object) -> Pause:
    r = Reader(body)
    text = {name: r.get(name, str) for name in ("ident", "reason", "asked_by")}
    pause = Pause(**text, at=r.get("at", float, 0.0), for_s=r.get("for_s", float), left_s=r.get("left_s", float))
    if not 0.0 <= pause.left_s <= pause.for_s:
        raise ValueError(f"paused: {pause.left_s} of {pause.for_s} s are left")
    return pause


def parse_leader(r: Reader) -> Leader:
    """Raises ValueError."""
    return Leader(
        holder=r.copy("holder"),
        incarnation=r.get("incarnation", str),
        epoch=r.count("epoch"),
        beat=r.count("beat"),
        tenure=Tenure(r.get("tenure", str)),
        sync=tuple(_parse_rule(x) for x in r.get("sync", list)),
        position=r.position("position"),
        clean=r.get("clean", bool),
        checkpointed=r.get("checkpointed", bool),
        forks=tuple(_fork(x) for x in r.get("forks", list)),
        target=r.get("target", str, ""),
        reason=r.get("reason", str, ""),
        loss_bytes=r.count("loss_bytes", 0),
        kept=tuple(copy_of(c) for c in r.get("kept", list, [])),
        source=r.get("source", str, ""),
        asked_by=r.get("asked_by", str, ""),
        paused=None if r.body.get("paused") is None else _pause(r.body["paused"]),
        unwell=r.get("unwell", bool, False),
    )


def parse_member(r: Reader) -> Member:
    """Raises ValueError."""
    raw = r.body.get("seal")
    seal = None
    if raw is not None:
        s = Reader(raw)
        seal = Seal(s.count("revision"), s.copy("copy"), s.position("position"))
        if seal.copy.node != r.get("node", str):
            raise ValueError(f"seal: a node speaks for itself only, not for {seal.copy.node!r}"[:120])
    standbys: dict[str, tuple[str, int]] = {}
    for name, pair in r.get("standbys", dict, {}).items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"standbys: {pair!r}"[:120])
        standbys[text_of(name)] = (text_of(pair[0]), lsn_of(pair[1]))
    limits = Reader(r.get("limits", dict, {}))
    return Member(
        node=r.get("node", str),
        incarnation=r.get("incarnation", str),
        beat=r.count("beat"),
        host=r.get("host", str),
        port=r.count("port"),
        data=r.get("data", str),
        state=r.get("state", str),
        primary=r.get("primary", bool),
        position=r.position("position"),
        replay=r.position("replay"),
        seal=seal,
        upstream_epoch=r.count("upstream_epoch"),
        priority=r.get("priority", int, 0),
        nofailover=r.get("nofailover", bool, False),
        version=r.get("version", str, ""),
        postgres=r.get("postgres", str, ""),
        problem=r.get("problem", str, ""),
        rule=r.get("rule", str, ""),
        written_at=r.get("written_at", float, 0.0),
        standbys=standbys,
        kept=tuple(text_of(name) for name in r.get("kept", list, [])),
        nosync=r.get("nosync", bool, False),
        clonefrom=r.get("clonefrom", bool, False),
        noloadbalance=r.get("noloadbalance", bool, False),
        follow=r.get("follow", str, ""),
        follows=r.get("follows", str, ""),
        settings=r.count("settings", 0),
        refused=r.get("refused", str, ""),
        pending=pairs_of(r, "pending"),
        limits={text_of(name): limits.count(name) for name in limits.body},
        measures=parse_measures(r),
    )


def parse_order(r: Reader) -> Order:
    """Raises ValueError."""
    return Order(
        kind=r.get("kind", str),
        ident=r.get("ident", str),
        epoch=r.count("epoch"),
        source=r.get("source", str),
        target=r.get("target", str),
        budget_s=r.get("budget_s", float),
        asked_by=r.get("asked_by", str, ""),
        asked_at=r.get("asked_at", float, 0.0),
        phase=r.get("phase", str),
        answer=r.get("answer", str, ""),
        revision=r.count("revision", 0),
        gives_up=tuple(_parse_rule(x) for x in r.get("gives_up", list, [])),
        reason=r.get("reason", str, ""),
        for_s=r.get("for_s", float, 0.0),
        begun_s=r.get("begun_s", float, 0.0),
        data=r.get("data", str, ""),
    )


def parse_cluster(r: Reader) -> Cluster:
    """Raises ValueError."""
    return Cluster(r.get("ident", str), r.get("system_identifier", str), r.get("created_at", float, 0.0))


def parse_event(r: Reader) -> Event:
    """Raises ValueError."""
    return Event(
        epoch=r.count("epoch"),
        holder=r.get("holder", str),
        source=r.get("source", str),
        kind=r.get("kind", str),
        reason=r.get("reason", str),
        position=r.position("position"),
        phases_ms={text_of(k): float(v) for k, v in r.get("phases_ms", dict, {}).items() if isinstance(v, int | float)},
        asked_by=r.get("asked_by", str, ""),
        at=r.get("at", float, 0.0),
        loss_bytes=r.count("loss_bytes", 0),
    )


def parse_value(key: str, value: bytes, parse: Callable[[Reader], T]) -> T | Problem:
    """One value of the store, or why it can't be read."""
    found: T | Problem = _parsed(key, value, parse)  # type: ignore[assignment]  # lru_cache forgets which T
    return found


@lru_cache(maxsize=512)  # most of what is read again has not changed
def _parsed(key: str, value: bytes, parse: Callable[[Reader], object]) -> object:
    try:
        reader = Reader(json.loads(value))
        schema = reader.get("schema", int)
        if schema != SCHEMA:
            return Problem(key, other_form(schema))
        return parse(reader)
    except (ValueError, AssertionError, RecursionError, OverflowError) as e:
        return Problem(key, str(e)[:200] or "unreadable")


def parse_snapshot(cluster: str, revision: int, entries: Mapping[str, tuple[bytes, int]]) -> Records:
    """All records under the cluster's prefix. `entries`: full key to (value, revision of its last change)."""
    root, problems = prefix(cluster), []
    found: dict[str, dict[str, object]] = {folder: {} for folder in ("", *_FOLDERS)}
    revisions: dict[str, int] = {}
    for full, (value, key_revision) in entries.items():
        key = full.removeprefix(root)
        revisions[key] = key_revision
        folder, _, name = key.partition("/")
        if folder == "settings":
            continue  # earlier revisions of `config`: for `pgha config history` alone
        if key in _SINGLE:
            folder, parsed = "", parse_value(key, value, _SINGLE[key])
        elif folder in _FOLDERS:
            parsed = parse_value(key, value, _FOLDERS[folder])
            other = "" if isinstance(parsed, Problem) else _says(parsed)
            if other not in ("", name):
                who = f"of epoch {other}" if folder == "history" else repr(other)
                parsed = Problem(key, f"says it is {who}"[:120])
        else:
            parsed = Problem(key, "not a key of pgha")
        if isinstance(parsed, Problem):
            problems.append(parsed)
        else:
            found[folder][key if not folder else name] = parsed
    single = found[""]
    return Records(
        revision=revision,
        cluster=single.get("cluster"),  # type: ignore[arg-type]  # `_SINGLE` and `_FOLDERS` pair each with its parser
        settings=single.get("config"),  # type: ignore[arg-type]
        leader=single.get("leader"),  # type: ignore[arg-type]
        order=single.get("request"),  # type: ignore[arg-type]
        question=single.get("question"),  # type: ignore[arg-type]
        members=found["members"],  # type: ignore[arg-type]
        history={int(epoch): event for epoch, event in found["history"].items()},  # type: ignore[misc]
        requests=found["requests"],  # type: ignore[arg-type]
        answers=found["answers"],  # type: ignore[arg-type]
        planned=found["schedule"],  # type: ignore[arg-type]
        revisions=revisions,
        problems=tuple(problems),
    )


_SINGLE: dict[str, Callable[[Reader], object]] = {
    "cluster": parse_cluster,
    "config": parse_settings,
    "leader": parse_leader,
    "request": parse_order,
    "question": parse_question,
}
_FOLDERS: dict[str, Callable[[Reader], object]] = {
    "members": parse_member,
    "history": parse_event,
    "requests": parse_order,
    "answers": parse_answer,
    "schedule": parse_planned,
}


def _says(value: object) -> str:
    """Whose key this value belongs under."""
    return str(getattr(value, {Event: "epoch", Order: "source", Planned: "ident"}.get(type(value), "node")))


def rule_text(rule: Rule) -> str:
    """A rule for people and logs: `n1: 1 of n2, n3`."""
    return f"{rule.holder}: {rule.k} of {', '.join(sorted(str(v) for v in rule.voters)) or 'none'}"
