"""The settings in the store, an operator's question about new ones, and the nodes' answers; both ways.

May import `pgha.core` and `records_json` only. Parsers raise ValueError.
"""

from __future__ import annotations

from pgha.core.model import MAX_LAG, Answer, Fact, Question, Settings
from pgha.records_json import Reader, dump, text_of, texts_of

KNOWN = tuple(name for name in Settings.__slots__ if name != "newer")


def dump_settings(v: Settings) -> bytes:
    """The value of `config`, and of `settings/<revision>`."""
    known = {name: getattr(v, name) for name in KNOWN}
    return dump(dict(v.newer) | known | {"parameters": dict(v.parameters)})


def parse_settings(r: Reader) -> Settings:
    """Raises ValueError."""
    value = Settings(
        revision=r.count("revision", 0),
        failover_after_s=r.get("failover_after_s", float),
        durability=r.get("durability", str),
        copies=r.count("copies", 0),
        max_lag=r.count("max_lag", MAX_LAG),
        parameters=texts_of(r, "parameters"),
        asked_by=r.get("asked_by", str, ""),
        at=r.get("at", float, 0.0),
        reason=r.get("reason", str, ""),
        newer={name: r.body[name] for name in r.body if name not in ("schema", *KNOWN)},
    )
    if not 5.0 <= value.failover_after_s <= 300.0:
        raise ValueError(f"failover_after_s: {value.failover_after_s} is not between 5 and 300")
    if value.durability not in ("quorum", "strict", "async"):
        raise ValueError(f"durability: {value.durability!r}"[:120])
    return value


def dump_question(v: Question) -> bytes:
    """The value of `question`."""
    return dump({"ident": v.ident, "values": dict(v.values), "asked_by": v.asked_by, "at": v.at})


def parse_question(r: Reader) -> Question:
    """Raises ValueError."""
    return Question(r.get("ident", str), texts_of(r, "values"), r.get("asked_by", str, ""), r.get("at", float, 0.0))


def dump_answer(v: Answer) -> bytes:
    """The value of `answers/<node>`."""
    facts = {name: {field: getattr(f, field) for field in Fact.__slots__} for name, f in v.facts.items()}
    return dump({"node": v.node, "ident": v.ident, "facts": facts})


def parse_answer(r: Reader) -> Answer:
    """Raises ValueError."""
    facts = {text_of(name): _fact(Reader(body)) for name, body in r.get("facts", dict).items()}
    return Answer(r.get("node", str), r.get("ident", str), facts)


def _fact(r: Reader) -> Fact:
    texts = {name: r.get(name, str) for name in Fact.__slots__ if name != "words"}
    words = r.get("words", list)
    if not all(isinstance(word, str) for word in words):
        raise ValueError(f"words: {words!r}"[:120])
    return Fact(**texts, words=tuple(text_of(word) for word in words))
