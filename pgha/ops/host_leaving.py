"""A node on a host of its own leaves: `leaving.Leaver` by root's commands there.

What bootstrap made is undone in the reverse order; data are moved, never deleted (docs/hosts.md).
"""

from __future__ import annotations

from collections.abc import Callable

from pgha import nodefile
from pgha.errors import OutcomeUnknown
from pgha.host import Ran
from pgha.ops import giving_back, host_plain
from pgha.ops import host_nodes as places
from pgha.ops.host_steps import COMMAND_S, NO_CLUSTER, HostSteps, must
from pgha.ops.leaving import aside
from pgha.ops.progress import Progress

STOP_S = 30
TRIES = 3
# With the last cluster of a host pgha itself goes: its environments, its link, what it masked.
SWEEP = r"""
set -eu
[ -z "$(find /etc/pgha -mindepth 1 -maxdepth 1 2>/dev/null | head -n 1)" ] || exit 0
if [ -e "$1" ]; then rm -f -- "$1"; systemctl unmask --quiet postgresql.service etcd.service; fi
[ "$(readlink /usr/local/bin/pgha)" != /opt/pgha/current/bin/pgha ] || rm -f /usr/local/bin/pgha
rm -rf /opt/pgha; rmdir /etc/pgha 2>/dev/null || true
"""


class HostLeaver:
    """See `leaving.Leaver`. wall_s: for the journal."""

    def __init__(self, steps: HostSteps, progress: Progress, wall_s: Callable[[], float]) -> None:
        self.name, self._node = steps.node.name, steps.node
        self._steps, self._progress, self._wall_s = steps, progress, wall_s

    @property
    def is_here(self) -> bool:
        """Its directories, its node file or a unit."""
        node = self._node
        paths = [node.dir, node.data_dir, node.etcd_dir, node.node_file_path, node.cron_path]
        paths += [f"{places.UNITS}/{unit}" for unit in (node.unit, node.etcd_unit)]
        argv = ["sh", "-c", 'for p in "$@"; do [ ! -e "$p" ] || echo "$p"; done', "sh", *paths]
        return bool(must(self._steps.root.run(argv, timeout_s=COMMAND_S), f"{self.name} can't be looked at").out)

    @property
    def is_plain(self) -> bool:
        """By its unit."""
        return self._steps.is_active(host_plain.unit_name(self._node.cluster))

    def _run(self, *argv: str, timeout_s: float = COMMAND_S) -> Ran:
        return must(self._steps.root.run(argv, timeout_s=timeout_s), f"{self.name}: {' '.join(argv[:3])} failed")

    def _told(self, what: str, said: str) -> None:
        self._steps.journal(self._wall_s(), what, said)
        self._progress.step(self.name, said)

    def _drop_unit(self, unit: str) -> bool:
        """Stopped, disabled, removed; False when it was not there."""
        path = f"{places.UNITS}/{unit}"
        if self._steps.root.read(path) is None:
            return False
        self._run("systemctl", "disable", "--quiet", "--now", unit, timeout_s=STOP_S + 30.0)
        self._run("rm", "-f", "--", path)
        self._run("systemctl", "daemon-reload")
        return True

    def halt(self) -> None:
        """The cron lines first, else a minute later it would run again."""
        node = self._node
        self._run("rm", "-f", "--", node.cron_path)
        there = self._drop_unit(node.unit)
        for _ in range(TRIES):  # a start by cron may be under way
            if not self._steps.is_running():
                break
            there = True
            argv = [*node.watchdog_argv(), "--stop", "--within", str(STOP_S)]
            self._steps.user.run(argv, timeout_s=STOP_S + 10.0)
        else:
            step = f"look at {node.state_dir}/guard.log there, then the same command again"
            raise OutcomeUnknown(f"the watchdog of {self.name} has not stopped", f"it was asked {TRIES} times", step)
        if there:
            self._told("halt", "watchdog and server stopped")

    def stop_plain(self) -> None:
        """See `ops.host_plain`."""
        if self._drop_unit(host_plain.unit_name(self._node.cluster)):
            self._told("plain", "PostgreSQL, which ran by itself, stopped")

    def stop_member(self) -> None:
        """Its unit goes."""
        if self._drop_unit(self._node.etcd_unit):
            self._told("etcd", "etcd member stopped")

    def put_member_away(self, stamp: str) -> None:
        """Within its directory."""
        path = f"{self._node.etcd_dir}/member"
        if self._steps.root.holds_something(path):
            self._run("mv", "-T", "--", path, aside(path, stamp))
            self._told("etcd", f"data of a member that is none any more are now {aside(path, stamp)}")

    def run_plainly(self, primary: str) -> None:
        """See `ops.host_plain`."""
        text = self._steps.root.read(self._node.node_file_path)
        if text is None:
            return  # an earlier run got further
        node = nodefile.parse(text)
        said = host_plain.run_plainly(self._steps, node, primary)
        self._told("plain", said)

    def leave(self) -> None:
        """The cron line first."""
        node = self._node
        self._run("rm", "-f", "--", node.cron_path)
        argv = [*node.watchdog_argv(), "--leave", "--within", str(STOP_S)]
        if self._steps.is_running():
            must(self._steps.user.run(argv, timeout_s=STOP_S + 10.0), f"the watchdog of {self.name} did not leave")
        self._drop_unit(node.unit)
        self._told("leave", "watchdog gone, the server runs on")

    def give_back(self, primary: str) -> None:
        """See `ops.giving_back`."""
        file = self._file()
        if file is not None:
            self._told("back", giving_back.give_back(self._steps.user, file, primary=self.name == primary))

    def clean_up(self, primary: str) -> None:
        """See `ops.giving_back`."""
        file = self._file()
        if file is not None:
            giving_back.clean_up(self._steps.user, file, primary=self.name == primary)

    def _file(self) -> nodefile.NodeFile | None:
        text = self._steps.root.read(self._node.node_file_path)
        return nodefile.parse(text) if text is not None else None

    def put_away(self, stamp: str) -> str:
        """Directories first, the node file last: until then the host is still known to have the node."""
        node, root = self._node, self._steps.root
        moved = []
        outside = [] if node.data_dir.startswith(node.dir + "/") else [node.data_dir]
        for path in (*outside, node.etcd_dir, node.dir):
            if root.holds_something(path):
                self._run("mv", "-T", "--", path, aside(path, stamp))
                moved.append(aside(path, stamp))
            else:
                self._run("rm", "-df", "--", path)
        self.forget()
        if moved:
            self._told("away", f"moved to {', '.join(moved)}")
        return ", ".join(moved)

    def forget(self) -> None:
        """pgha's own files outside the directories; pgha itself with the last cluster of the host."""
        node = self._node
        self._run("rm", "-rf", "--", node.tls_dir, node.node_file_path)
        self._run("sh", "-c", SWEEP, "sh", NO_CLUSTER)
