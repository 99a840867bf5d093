"""One line of a node's log, whatever wrote it: when, from what, and what it says to people. Pure.

Watchdog and guard write JSON (`adapters/journal`, `watchdog/guard_log`), PostgreSQL its own lines (`pg/conf`), etcd
JSON of zap, on hosts through the journal with the time before it. May import the words of `ops.story`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pgha.ops import story

PIECES = ("watchdog", "guard", "postgresql", "etcd")
_POSTGRES = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)? (?:UTC|GMT) (.*)")
_JOURNAL = re.compile(r"(\d{9,11}\.\d+) \S+ [^:\[]+(?:\[\d+\])?: (.*)")
_QUIET = ("time", "boot_s", "event", "node", "ts", "level", "msg", "caller", "logger", "says", "because")


@dataclass(frozen=True, slots=True)
class LogLine:
    """at: wall clock of the node, None where the line does not tell (it goes on what stands before it).

    piece: one of PIECES. says: for people. raw: as it was written.
    """

    at: float | None
    node: str
    piece: str
    says: str
    raw: str

    def as_dict(self) -> dict[str, object]:
        """For `-o json`: one document a line."""
        when = None if self.at is None else datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        return {
            "schema_version": 1,
            "time": when,
            "node": self.node,
            "source": self.piece,
            "says": self.says,
            "line": self.raw,
        }


def parse(node: str, piece: str, raw: str) -> LogLine:
    """Never raises: what is not understood is shown as it is."""
    if piece == "postgresql":
        return _postgres(node, raw)
    at, text = None, raw
    found = _JOURNAL.fullmatch(raw) if piece == "etcd" else None
    if found:
        at, text = float(found[1]), found[2]
    body = _body(text)
    if body is None:
        return LogLine(at, node, piece, text, raw)
    when = _when(body.get("time", body.get("ts")))
    says = _zap(body) if piece == "etcd" else _ours(piece, body)
    return LogLine(when if when is not None else at, node, piece, says, raw)


def _body(text: str) -> dict[str, object] | None:
    try:
        body = json.loads(text) if text.startswith("{") else None
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _when(value: object) -> float | None:
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None


def _postgres(node: str, raw: str) -> LogLine:
    found = _POSTGRES.fullmatch(raw)
    if found is None:
        return LogLine(None, node, "postgresql", raw, raw)
    at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() + float(found[2] or 0)
    return LogLine(at, node, "postgresql", found[3], raw)


def _facts(body: dict[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in body.items() if name not in _QUIET and value not in ("", None))


def _ours(piece: str, body: dict[str, object]) -> str:
    """The sentence that `history EPOCH` would tell, else the event with its facts."""
    event = str(body.get("event") or "")
    words = (story.GUARD if piece == "guard" else story.AGENT).get(event)
    told = words(body) if words else ""
    says = " ".join(str(body[name]) for name in ("says", "because") if isinstance(body.get(name), str))
    return told or " ".join(part for part in (event, says, _facts(body)) if part)


def _zap(body: dict[str, object]) -> str:
    level = str(body.get("level") or "")
    told = "" if level == "info" else level
    return " ".join(part for part in (told, str(body.get("msg") or ""), _facts(body)) if part)
