"""Orders for later in the store, both ways. May import `pgha.core` and `records_json` only."""

from __future__ import annotations

from pgha.core.planned import Planned
from pgha.records_json import Reader, dump, text_of


def dump_planned(v: Planned) -> bytes:
    """The value of `schedule/<ident>`."""
    body: dict[str, object] = {name: getattr(v, name) for name in Planned.__slots__}
    return dump(body | {"nodes": list(v.nodes), "done": list(v.done)})


def parse_planned(r: Reader) -> Planned:
    """Raises ValueError."""
    return Planned(
        kind=r.get("kind", str),
        ident=r.get("ident", str),
        at=r.get("at", float),
        source=r.get("source", str, ""),
        target=r.get("target", str, ""),
        nodes=tuple(text_of(n) for n in r.get("nodes", list, [])),
        pending=r.get("pending", bool, False),
        rolling=r.get("rolling", bool, False),
        asked_by=r.get("asked_by", str, ""),
        asked_at=r.get("asked_at", float, 0.0),
        phase=r.get("phase", str),
        answer=r.get("answer", str, ""),
        step=r.get("step", str, ""),
        order=r.get("order", str, ""),
        since=r.get("since", float, 0.0),
        epoch=r.count("epoch", 0),
        heir=r.get("heir", str, ""),
        done=tuple(text_of(n) for n in r.get("done", list, [])),
    )
