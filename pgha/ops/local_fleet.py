"""Bootstrap's nodes as processes of this machine, in one directory: `fleet.Fleet` on `Host` and /proc.

A restarter stands in for cron here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pgha.errors import Busy
from pgha.host import Host
from pgha.nodefile import ServerTls
from pgha.ops import etcd_members, local_nodes, restarter
from pgha.ops.fleet import Place, Ready, is_read, note_read
from pgha.ops.leaving import Leaver
from pgha.ops.local_leaving import LocalLeaver
from pgha.ops.local_nodes import MARKER, LocalNode, let_up, sort_out, start
from pgha.ops.preflight import check_dir, data_names
from pgha.ops.procs import living
from pgha.ops.progress import Progress
from pgha.ops.store_login import Login
from pgha.ports import Keep


class LocalFleet:
    """files: name to text, written into the cluster's directory once it is ours."""

    def __init__(
        self,
        ready: Ready,
        host: Host,
        keep: Callable[[str], Keep],
        progress: Progress,
        python: str,
        files: Mapping[str, str],
        restart_every_s: float,
    ) -> None:
        self.ready, self._host, self._keep, self._progress = ready, host, keep, progress
        self._python, self._files, self._every_s = python, files, restart_every_s
        self._nodes = [n for n in ready.nodes if isinstance(n, LocalNode)]
        self._root = self._nodes[0].root
        self._argvs: dict[str, list[str]] = {}
        self._stale: set[str] = set()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A lock on the cluster's directory."""
        self._host.make_dir(self._root)
        with self._host.hold(self._root):
            yield

    def lay_out(self) -> None:
        """The directory is looked at once more: preflight did so without holding it."""
        ready, root = self.ready, self._root
        spared = data_names(self._nodes) if ready.adopts else frozenset[str]()
        there = check_dir(root, ready.marker.cluster, self._host.user, spared)
        if there != (None if ready.fresh else ready.marker):
            what = f"another pgha was at work in {root} just now"
            raise Busy(what, "its marker has changed", "run the same command again")
        if ready.fresh:
            self._host.write(f"{root}/{MARKER}", ready.marker.text())
        for name, text in self._files.items():
            if self._host.read(f"{root}/{name}") != text:
                self._host.write(f"{root}/{name}", text)
        for node in self._nodes:
            for path in (node.dir, node.state_dir, node.log_dir, node.socket_dir, os.path.dirname(node.data_dir)):
                self._host.make_dir(path)

    def host(self, node: Place) -> Host:
        """All nodes are on this one."""
        return self._host

    def keep(self, node: Place) -> Keep:
        """In its state directory."""
        return self._keep(f"{node.state_dir}/memory.json")

    def each(self, work: Callable[[Place], None]) -> None:
        """One after another."""
        for node in self._nodes:
            work(node)

    def node_file(self, node: Place) -> str | None:
        """In the node's directory."""
        return self._host.read(f"{node.dir}/node.json")

    def put_node_file(self, node: Place, text: str) -> bool:
        """In the node's directory."""
        path = f"{node.dir}/node.json"
        if self._host.read(path) == text:
            return False
        self._host.write(path, text)
        self._stale.add(node.name)
        return True

    def member_tls(self, node: Place) -> Mapping[str, str] | None:
        """On loopback none."""
        return None

    def has_member(self, node: Place) -> bool:
        """By its directory."""
        return self._host.holds_something(f"{node.etcd_dir}/member")

    def leaver(self, node: Place) -> Leaver:
        """By its processes."""
        own = next(n for n in self._nodes if n.name == node.name)
        return LocalLeaver(own, self._host, self._progress)

    def login(self) -> Login | None:
        """On loopback none."""
        return None

    def server_tls(self, node: Place) -> ServerTls | None:
        """On loopback none."""
        return None

    def tighten(self) -> bool:
        """There is nothing to tighten."""
        return False

    def start_store(self, argvs: Mapping[str, list[str]]) -> None:
        """The restarter's plan first: what it says may be started, and is ended by `demo down`."""
        self._argvs |= argvs
        plan = restarter.plan_text(self._nodes, self._argvs)
        self._host.write(f"{self._root}/{restarter.PLAN}", plan)
        nodes = [node for node in self._nodes if node.name in argvs]
        etcd_members.start_missing(dict(argvs), nodes, self._host, self._progress)

    def start(self) -> None:
        """Each watchdog, then the restarter. One that runs with an older file is replaced under its server."""
        there = living()
        for node in self._nodes:
            let_up(node)
            text = self._host.read(node.node_file_path) or ""
            if sort_out(node, there)["guard"]:
                said = "already running"
                if node.name in self._stale or not is_read(self._host, node, text):
                    local_nodes.replace(node, self._host)
                    said = "replaced: its node file has changed"
            else:
                start(node, self._host)
                said = "started"
            note_read(self._host, node, text)
            self._progress.step(node.name, f"watchdog {said}")
        argv = restarter.argv(self._python, self._root, self._every_s)
        self._host.spawn(argv, cwd=self._root, log_file=f"{self._root}/restarter.log")

    def logs(self, node: Place) -> str:
        """Its own directory of logs."""
        return f"{node.state_dir}/watchdog.log and {node.dir}/log"

    def close(self) -> None:
        """There are none."""
