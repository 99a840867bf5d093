"""The logs of all nodes in one stream: read at once, each node in a thread of its own, given by time.

What runs at a node is one fixed shell script (`READ`); paths are its arguments. A node that can't be read is told once
and holds nobody up. Knows neither SSH nor files: a `Reader` gives a node's lines.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pgha.errors import PghaError, UsageError
from pgha.ops.log_lines import PIECES, LogLine, parse
from pgha.ops.story import Log

BYTES = 4 << 20  # so much of the end of each file
HOLD_S = 0.6  # so long a line waits for an older one of another node
LATE_S = 3.0  # when all the others have been read, who has not said a word by then is late
AGAIN_S = 5.0
BEAT = "beat"  # the script lives: every 2 s while it follows
SILENT_S = 10.0
# $1 state directory, $2 bytes, $3 follow, $4 etcd's unit or "", $5 etcd's file or "", $6 since (epoch). Following, it
# ends with its standard input: nothing is left on a host when the connection goes.
READ = r"""
t=$(printf '\t'); one() { sed -u "s/^/$1$t/"; }
[ -r "$1/watchdog.log" ] || echo "problem${t}$1/watchdog.log can't be read"
if [ "$3" = 1 ]; then
  for f in watchdog guard postgresql; do tail -q -c "$2" -F -- "$1/$f.log" 2>/dev/null | one "$f" & done
  [ -z "$5" ] || { tail -q -c "$2" -F -- "$5" 2>/dev/null | one etcd & }
  [ -z "$4" ] || { journalctl -q -f -n all -u "$4" -o short-unix --no-pager --since "@$6" 2>/dev/null | one etcd & }
  { while sleep 2; do echo beat; done & }
  cat >/dev/null
  kill 0  # the whole group: of a pipeline `jobs` and `$!` know one process
else
  for f in watchdog guard postgresql; do
    for p in "$1/$f.log.1" "$1/$f.log"; do [ ! -r "$p" ] || { tail -q -c "$2" -- "$p"; echo; }; done | one "$f"
  done
  [ -z "$5" ] || [ ! -r "$5" ] || tail -q -c "$2" -- "$5" | one etcd
  [ -z "$4" ] || journalctl -q -u "$4" -o short-unix --no-pager --since "@$6" 2>/dev/null | one etcd
fi
"""

Reader = Callable[[str], Iterator[str]]
UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node's logs are. unit: etcd's, on a host; etcd_file: where etcd writes a file; "" for none."""

    state_dir: str
    unit: str = ""
    etcd_file: str = ""


def argv(place: Place, *, follow: bool, since: float) -> list[str]:
    """How the script is run there."""
    words = [place.state_dir, str(BYTES), "1" if follow else "0", place.unit, place.etcd_file, str(max(0, int(since)))]
    return ["sh", "-c", READ, "sh", *words]


def seconds_of(text: str) -> float:
    """`10m`, `90s`, `2h`, `1d`. Raises UsageError."""
    number = text.rstrip("smhdin")
    unit = UNITS.get(text[len(number) :])
    if unit is None or not number.replace(".", "", 1).isdecimal():
        raise UsageError(f"--since {text} is no time", "a number with a unit: 90s, 10m, 2h, 1d", "--since 10m")
    return float(number) * unit


@dataclass(frozen=True, slots=True)
class Trouble:
    """A node that can't be read, or no longer; because: "" when it is there again."""

    node: str
    because: str


@dataclass(frozen=True, slots=True)
class _End:
    """A node's reader has come to its end."""

    node: str


class Stream:
    """Lines of several nodes. `read` gives those there are, `follow` goes on for ever."""

    def __init__(self, nodes: Sequence[str], open_reader: Reader, since: float) -> None:
        self._nodes, self._open, self._since = nodes, open_reader, since
        self._told: queue.SimpleQueue[LogLine | Trouble | _End] = queue.SimpleQueue()

    def _start(self, work: Callable[[str], None]) -> None:
        for node in self._nodes:
            threading.Thread(target=work, args=(node,), name=f"logs-{node}", daemon=True).start()

    def _once(self, node: str, since: float) -> str:
        """All lines of one node; why it ended, "" when it came to its end."""
        last: dict[str, float] = {}
        try:
            for text in self._open(node):
                line = _line(node, text, last)
                if isinstance(line, Trouble) or (line is not None and _time(line) >= since):
                    self._told.put(line)
        except PghaError as e:
            return f"{e.what}: {e.because}" if e.because else e.what
        return ""

    def read(self) -> Iterator[LogLine | Trouble]:
        """What there is, by time; the troubles first. Who is late is told and not waited for."""

        def work(node: str) -> None:
            why = self._once(node, self._since)
            if why:
                self._told.put(Trouble(node, why))
            self._told.put(_End(node))

        self._start(work)
        lines: list[LogLine] = []
        open_nodes, heard = set(self._nodes), time.monotonic()
        while open_nodes:
            try:
                found = self._told.get(timeout=0.2)
            except queue.Empty:
                if len(open_nodes) < len(self._nodes) and time.monotonic() > heard + LATE_S:
                    break
                continue
            heard = time.monotonic()
            if isinstance(found, LogLine):
                lines.append(found)
            elif isinstance(found, Trouble):
                yield found
            else:
                open_nodes.discard(found.node)
        yield from (Trouble(node, f"no answer within {LATE_S:g} s of the others") for node in sorted(open_nodes))
        yield from sorted(lines, key=_time)

    def follow(self) -> Iterator[LogLine | Trouble]:
        """For ever. A line waits HOLD_S for older ones of others; a node that is lost is told, and tried again."""
        self._start(self._again_and_again)
        waiting: list[tuple[float, LogLine]] = []
        while True:
            try:
                found = self._told.get(timeout=0.1)
            except queue.Empty:
                found = None
            now = time.monotonic()
            if isinstance(found, LogLine):
                waiting.append((now, found))
                if not self._told.empty() and now - waiting[0][0] < HOLD_S:
                    continue
            elif isinstance(found, Trouble):
                yield found
            due = [line for came, line in waiting if now - came >= HOLD_S]
            if due:
                newest = max(map(_time, due))
                due = [line for _, line in waiting if _time(line) <= newest]
                waiting = [pair for pair in waiting if _time(pair[1]) > newest]
                yield from sorted(due, key=_time)

    def _again_and_again(self, node: str) -> None:
        lost, since = False, self._since
        while True:
            began, wall = time.monotonic(), time.time()
            why = self._once(node, since) or "its reader has ended"
            was_there = time.monotonic() - began > AGAIN_S + SILENT_S
            if was_there or not lost:
                self._told.put(Trouble(node, why))
            lost, since = True, max(since, wall) if was_there else since
            time.sleep(AGAIN_S)


def _time(line: LogLine) -> float:
    return line.at or 0.0


def _line(node: str, text: str, last: dict[str, float]) -> LogLine | Trouble | None:
    """One line of the script; those without a time go with the one before, the torn first one of a file is dropped."""
    piece, tab, raw = text.partition("\t")
    if not tab or not raw.strip():
        return None
    if piece == "problem":
        return Trouble(node, raw)
    if piece not in PIECES:
        return None
    line = parse(node, piece, raw.rstrip("\r"))
    if line.at is not None:
        last[piece] = line.at
    elif piece in last:
        line = replace(line, at=last[piece])
    else:
        return None
    return line


def whole(nodes: Sequence[str], open_reader: Reader) -> Mapping[str, Log]:
    """The watchdogs' logs for `ops.story`: what could be read of each node, and why not of the others."""
    texts: dict[str, dict[str, list[str]]] = {node: {} for node in nodes}
    problems: dict[str, str] = {}
    for found in Stream(nodes, open_reader, 0.0).read():
        if isinstance(found, Trouble):
            problems[found.node] = found.because
        else:
            texts[found.node].setdefault(found.piece, []).append(found.raw)
    return {
        node: Log("\n".join(parts.get("watchdog", ())), "\n".join(parts.get("guard", ())), problems.get(node, ""))
        for node, parts in texts.items()
    }
