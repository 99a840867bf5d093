"""A node that is processes of this machine leaves: `leaving.Leaver` on `Host` and /proc."""

from __future__ import annotations

import os

from pgha import nodefile
from pgha.errors import OutcomeUnknown, Refused, RolledBack
from pgha.host import Host
from pgha.ops import giving_back
from pgha.ops.leaving import aside
from pgha.ops.local_nodes import LocalNode, hold_down, sort_out
from pgha.ops.procs import Proc, end_all, living
from pgha.ops.progress import Progress

STOP_S = 20.0
TERM_S = 5.0


class LocalLeaver:
    """See `leaving.Leaver`."""

    def __init__(self, node: LocalNode, host: Host, progress: Progress) -> None:
        self.name, self._node, self._host, self._progress = node.name, node, host, progress

    @property
    def is_here(self) -> bool:
        """Its directory, or a process of it."""
        return os.path.isdir(self._node.dir) or any(self._processes("guard", "agent", "postgres", "tool", "etcd"))

    @property
    def is_plain(self) -> bool:
        """Never."""
        return False

    def _processes(self, *kinds: str) -> list[Proc]:
        found = sort_out(self._node, living())
        return [proc for kind in kinds for proc in found[kind]]

    def halt(self) -> None:
        """The restarter leaves it alone from now on."""
        if os.path.isdir(self._node.dir):
            hold_down(self._node)
        if self._processes("guard"):
            argv = [*self._node.watchdog_argv(), "--stop", "--within", f"{STOP_S:g}"]
            self._host.run(argv, timeout_s=STOP_S + 5.0)
            self._progress.step(self.name, "watchdog and server stopped")
        self._end("guard", "agent", "postgres", "tool")

    def stop_plain(self) -> None:
        """There is none."""

    def stop_member(self) -> None:
        """It hands its leadership on."""
        if self._processes("etcd"):
            self._end("etcd")
            self._progress.step(self.name, "etcd member stopped")

    def put_member_away(self, stamp: str) -> None:
        """Within its directory."""
        path = f"{self._node.etcd_dir}/member"
        if os.path.isdir(path):
            self._host.move_dir(path, aside(path, stamp))

    def _end(self, *kinds: str) -> None:
        left = end_all(self._processes(*kinds), timeout_s=TERM_S)
        if left:
            names = ", ".join(f"{p.program} (pid {p.pid})" for p in left)
            raise OutcomeUnknown(f"not everything of {self.name} has ended", names, "the same command, once more")

    def run_plainly(self, primary: str) -> None:
        """There is no systemd for processes of one machine."""
        raise Refused("--keep-postgres is for hosts", f"{self.name} is processes of this machine")

    def leave(self) -> None:
        """The restarter leaves it alone from now on."""
        hold_down(self._node)
        ran = self._host.run([*self._node.watchdog_argv(), "--leave"], timeout_s=STOP_S + 5.0)
        if not ran.ok:
            raise RolledBack(f"the watchdog of {self.name} did not leave", ran.tail(), "the same command, once more")
        self._progress.step(self.name, "watchdog gone, the server runs on")

    def give_back(self, primary: str) -> None:
        """See `ops.giving_back`."""
        said = giving_back.give_back(self._host, self._file(), primary=self.name == primary)
        self._progress.step(self.name, said)

    def clean_up(self, primary: str) -> None:
        """See `ops.giving_back`."""
        giving_back.clean_up(self._host, self._file(), primary=self.name == primary)

    def _file(self) -> nodefile.NodeFile:
        return nodefile.parse(self._host.read(self._node.node_file_path) or "")

    def forget(self) -> None:
        """Its directory goes, but for data that lie in it."""
        self._end("guard", "agent")
        if not self._node.data_dir.startswith(self._node.dir + "/"):
            self._host.remove_tree(self._node.dir)

    def put_away(self, stamp: str) -> str:
        """The node's directory as a whole, and a data directory that lies elsewhere."""
        node = self._node
        moved = []
        for path in (node.dir, node.data_dir):
            if os.path.isdir(path):
                self._host.move_dir(path, aside(path, stamp))
                moved.append(aside(path, stamp))
        if not node.socket_dir.startswith(node.dir + "/"):
            self._host.remove_tree(node.socket_dir)
        if moved:
            self._progress.step(self.name, f"moved to {', '.join(moved)}")
        return ", ".join(moved)
