"""Clone and rewind: the long work on a data directory, one at a time, in a thread of its own.

The programs run as children of the guard, so they die with the agent; every step can be interrupted and done again.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress

from pgha.adapters import server_source
from pgha.adapters.server_copies import Copies
from pgha.adapters.server_files import ServerFiles, identity_of
from pgha.core.server import DataIdentity
from pgha.errors import Refused
from pgha.nodefile import NodeFile
from pgha.pg import conf
from pgha.ports import Clock, GuardLink

CLONE_S = 6 * 3600.0
REWIND_S = 3600.0
STOP_S = 30.0


class Jobs:
    """At most one job at a time. `running`: its name; `failed`: why the last one failed, empty when it did not."""

    def __init__(self, node: NodeFile, link: GuardLink, clock: Clock, files: ServerFiles) -> None:
        self.node, self.link, self.clock, self.files = node, link, clock, files
        self.copies = Copies(node)
        self.running = ""
        self.failed = ""
        self.on_clone: Callable[[DataIdentity], None] = lambda _: None
        self.env = {"PATH": f"{node.bin_dir}:/usr/bin:/bin", "LC_ALL": "C", "HOME": node.state_dir, "TZ": "UTC"}

    def clone(self, holder: str, keep: str) -> None:
        """pg_basebackup into a new directory, which then takes the data directory's place. keep: see `ports.Server`."""
        self._begin("cloning", lambda: self._clone(holder, keep))

    def rewind(self, holder: str) -> None:
        """Fast stop, pg_rewind in place."""
        self._begin("rewinding", lambda: self._rewind(holder))

    def forget(self) -> None:
        """The node is where it belongs: what came of earlier jobs is over, and what they left half made goes."""
        if not self.running:
            self.failed = ""
            with suppress(OSError):  # the next clone says so
                self.copies.drop_unfinished()

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        if self.running:
            return
        self.running, self.failed = name, ""
        threading.Thread(target=self._run, args=(work,), name=name, daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, ValueError, Refused) as e:
            self.failed = str(e)[-300:]
        finally:
            self.running = ""

    def _tool(self, argv: list[str], seconds: float) -> None:
        result = self.link.run_tool(argv, self.env, deadline_s=self.clock.now_s() + seconds)
        if result.code != 0:
            last = [x for x in result.tail.strip().splitlines() if x.strip()]
            raise OSError(f"{os.path.basename(argv[0])} ended with {result.code}: {last[-1] if last else 'no output'}")

    def _clone(self, holder: str, keep: str) -> None:
        """Without room for a second copy the server is left as it is: the old copy stays until the new one streams."""
        tag = secrets.token_hex(3)
        has = server_source.ask(self.node, holder, self.clock)
        fresh = self.copies.new_dir(tag, has.spaces.values())
        problem = self.copies.room_problem(has.data_bytes, has.sizes)
        if problem:
            raise OSError(problem)
        self._stop()
        source = conf.upstream(self.node, holder, f"{self.node.node}-clone")
        program = f"{self.node.bin_dir}/pg_basebackup"
        argv = [program, "-D", fresh, "-d", source, "-X", "stream", "-c", "fast", "--no-password"]
        for old, new in self.copies.mapping(has.spaces.values(), tag).items():
            argv.append(f"--tablespace-mapping={_mapped(old)}={_mapped(new)}")
        self._tool(argv, CLONE_S)
        os.chmod(fresh, 0o700)
        found = identity_of(fresh)
        if found is None:
            raise OSError("the clone has no valid pg_control")
        self.on_clone(found)
        self.copies.swap_in(fresh, tag, keep)
        self.copies.end_rewind()

    def _rewind(self, holder: str) -> None:
        """Killed on the way it leaves a directory that nothing can be known of (PostgreSQL's own documentation says
        so too): it is noted before and cloned anew."""
        self._stop()
        source = conf.upstream(self.node, holder, f"{self.node.node}-rewind", dbname="postgres")
        argv = [f"{self.node.bin_dir}/pg_rewind", "-D", self.node.data_dir, f"--source-server={source}"]
        self.copies.begin_rewind()
        try:
            self._tool(argv, REWIND_S)
        finally:
            self.files.arm_standby()  # pg_rewind removes it when the source was just promoted (redteam 6)
        self.copies.end_rewind()

    def _stop(self) -> None:
        """The server of this directory is down, cleanly where possible (a rewind needs that)."""
        deadline_s = self.clock.now_s() + STOP_S
        if self.link.state().postmaster:
            self.link.signal("SIGINT")
        while self.link.state().postmaster and self.clock.now_s() < deadline_s:
            self.clock.sleep(0.02)
        if not self.link.kill_tree(deadline_s=self.clock.now_s() + 5.0):
            raise OSError("the server could not be stopped")


def _mapped(path: str) -> str:
    """As --tablespace-mapping reads it: an equals sign within a path is escaped."""
    return path.replace("=", "\\=")
