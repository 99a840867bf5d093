"""What is true on a node that says nothing in the store: its host is asked for its processes. Changes nothing.

May import errors, host values and its neighbours in ops. What it asks for needs no rights there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pgha.errors import PghaError
from pgha.host import Remote
from pgha.ops import local_nodes
from pgha.ops.host_nodes import HostNode
from pgha.ops.local_nodes import LocalNode
from pgha.ops.procs import living
from pgha.ops.status import Status
from pgha.ops.together import outcomes

WITHIN_S = 2.5
YOUNG_S = 120.0
# $1 the node's own file, $2 its data directory: both are words of its processes' command lines.
LOOK = r"""
for c in $(grep -laF -e "$1" -e "$2" /proc/[0-9]*/cmdline 2>/dev/null); do
  words=$(tr '\0' '\n' <"$c" 2>/dev/null) || continue
  case $words in *--stop*|*--restart*) continue;; esac
  printf '%s\n' "$words" | grep -qxF -- "$1" && printf '%s\n' "$words" | grep -qx watchdog && echo watchdog
  printf '%s\n' "$words" | head -n 1 | grep -q '/postgres$' && printf '%s\n' "$words" | grep -qxF -- "$2" && echo server
done
echo up "$(cut -d. -f1 /proc/uptime)"
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What runs there. up_s: since the host booted; None where that does not matter."""

    watchdog: bool
    server: bool
    up_s: float | None = None

    def text(self) -> str:
        """For the row and its note."""
        if self.watchdog and self.server:
            return "its host answers, watchdog and PostgreSQL run: it does not reach the store, or hangs"
        if self.watchdog:
            return "its host answers, its watchdog runs, PostgreSQL does not"
        if self.server:
            return "its host answers, PostgreSQL runs without a watchdog"
        young = f" (it booted {self.up_s:.0f} s ago)" if self.up_s is not None and self.up_s < YOUNG_S else ""
        return f"its host answers, the watchdog does not run{young}"


Ask = Callable[[], Found]


def of_host(node: HostNode, connect: Callable[[str], Remote]) -> Found:
    """By SSH, as who logs in. Raises Unreachable."""
    remote = connect(node.host)
    try:
        argv = ["sh", "-s", "--", node.node_file_path, node.data_dir]
        said = remote.as_user(remote.user).run(argv, timeout_s=WITHIN_S, stdin=LOOK).out.splitlines()
    finally:
        remote.close()
    up = next((line.split()[1] for line in said if line.startswith("up ")), "")
    return Found("watchdog" in said, "server" in said, float(up) if up.isdecimal() else None)


def of_this_machine(node: LocalNode) -> Found:
    """By its processes here."""
    found = local_nodes.sort_out(node, living())
    return Found(bool(found["guard"]), bool(found["postgres"]))


def words(asks: Mapping[str, Ask], *, within_s: float = WITHIN_S) -> dict[str, str]:
    """What is true of each, all asked at once; who gives no answer in time has that for an answer."""

    def one(_name: str, ask: Ask) -> Found:
        return ask()

    found = outcomes(asks, one, within_s=within_s)
    return {name: _unreached(said) if isinstance(said, PghaError) else said.text() for name, said in found.items()}


def _unreached(problem: PghaError) -> str:
    return f"its host can't be asked: {(problem.because or problem.what)[:160]}"


def told(status: Status, heard: Mapping[str, str]) -> Status:
    """The same page with what was heard: in the rows, and in a note for each."""
    if not heard:
        return status
    rows = tuple(replace(row, problem=heard.get(row.node, row.problem)) for row in status.rows)
    kept, own = [], {f"{row.node}: {row.state}" for row in status.rows if row.node in heard}
    for note in status.notes:
        mine = next((text for text in own if note == text or note.startswith(f"{text}, ")), None)
        if mine is None:
            kept.append(note)
    kept += [f"{row.node}: {row.state}; {heard[row.node]}" for row in status.rows if row.node in heard]
    return replace(status, rows=rows, notes=tuple(kept))
