"""A machine for bootstrap whose programs are stand-ins (it notes what it would run); files are real."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pgha import inventory, records
from pgha.adapters.local import JsonKeep, LocalHost
from pgha.adapters.memory import MemoryStore
from pgha.core.model import Copy, Rule
from pgha.host import Ran
from pgha.ops import bootstrap
from pgha.ops.bootstrap_run import Machine as BootMachine
from pgha.ops.bootstrap_run import Options, Outcome
from pgha.ops.progress import Silent
from pgha.ports import StoreHealth, Write
from tests.ops import cases
from tests.support.etcd_cluster import USER

SYSTEM = "7711612194073846478"
ME = USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
PREFIX = "/pgha/shop/"


class Clock:
    """Moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 50.0

    def now_s(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class ThreeMembers(MemoryStore):
    """The store in memory, as healthy as three members of etcd."""

    def health(self, *, deadline_s: float) -> StoreHealth:
        return cases.HEALTH


class Machine:
    """A machine whose programs are stand-ins. `interrupt_at`: the how-manieth call of the host is interrupted."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.store = ThreeMembers(self.clock, threaded=False)
        self.real = LocalHost(ME)
        self.user = self.real.user
        self.root = root
        self.ran: list[str] = []
        self.calls, self.interrupt_at = 0, 0

    # what bootstrap asks of a host

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        self._step()
        program = os.path.basename(argv[0])
        if program == "find":
            return self.real.run(argv, timeout_s=timeout_s)
        if program == "initdb":
            made = argv[argv.index("-D") + 1]
            if os.path.exists(made):
                return Ran(1, err=f"initdb: error: directory {made} exists but is not empty")
            self.real.make_dir(made)
            self.real.write(f"{made}/PG_VERSION", "15\n")
        self.ran.append("watchdog" if "watchdog" in argv else program)
        out = f"Database system identifier:           {SYSTEM}\n" if program == "pg_controldata" else ""
        if "watchdog" in argv:
            self._come_alive()
        self._step()
        return Ran(0, out)

    def spawn(self, argv: Sequence[str], *, cwd: str, log_file: str) -> int:
        self._step()
        self.ran.append("restarter" if "pgha.ops.restarter" in argv else os.path.basename(argv[0]))
        return 1

    def make_dir(self, path: str, mode: int = 0o700) -> None:
        self._step()
        self.real.make_dir(path, mode)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        self._step()
        self.real.write(path, text, mode)
        self._step()

    def move_dir(self, source: str, target: str) -> None:
        self._step()
        self.real.move_dir(source, target)
        self._step()

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def _step(self) -> None:
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt

    def _come_alive(self) -> None:
        """What the agents would publish in the end."""
        deadline = self.clock.now + 1
        key = cases.leader(holder=Copy("n1", self.data_id()), sync=(self._rule(),))
        writes = [Write(PREFIX + "leader", records.dump_leader(key))]
        for name in cases.NAMES:
            data = self.data_id() if name == "n1" else f"d{name[1:]}"
            here = replace(cases.member(name), data=data, written_at=9e9)
            writes.append(Write(f"{PREFIX}members/{name}", records.dump_member(here)))
        self.store.commit([], writes, deadline_s=deadline)

    def _rule(self) -> Rule:
        return replace(cases.leader().sync[0], holder=Copy("n1", self.data_id()))

    def data_id(self) -> str:
        body = JsonKeep(str(self.root / "n1/state/memory.json")).load()
        data = body["data"]
        assert isinstance(data, dict)
        return str(data["id"])

    # what the test asks

    def found(self) -> records.Records:
        snapshot = self.store.read(PREFIX, deadline_s=self.clock.now + 1)
        return records.parse_snapshot(
            "shop", snapshot.revision, {k: (e.value, e.revision) for k, e in snapshot.entries.items()}
        )

    def bootstrap(self, options: Options | None = None, **changes: str) -> Outcome:
        machine = BootMachine(
            host=self,  # type: ignore[arg-type]  # __getattr__ gives the rest
            binaries=Programs(),
            clock=self.clock,
            python="/usr/bin/python3",
            open_store=lambda _access: self.store,
            keep=lambda path: JsonKeep(path, self.real.owner),
        )
        wanted = inventory.parse(text_for(self.root, **changes), "inventory.yaml")
        return bootstrap.bootstrap(wanted, machine, options or Options(), Silent())


class Programs:
    """Where the stand-ins are said to be."""

    def postgres(self) -> str:
        return "/usr/lib/postgresql/15/bin"

    def etcd(self) -> str:
        return "/usr/bin/etcd"


PORTS = {f"n{i + 1}": (45601 + i, 45611 + i, 45621 + i) for i in range(3)}


def text_for(root: Path, cluster: str = "shop", extra: str = "") -> str:
    nodes = "".join(
        f"  {n}: {{host: 127.0.0.1, port: {p}, etcd_client_port: {c}, etcd_peer_port: {e}}}\n"
        for n, (p, c, e) in PORTS.items()
    )
    return f"cluster: {cluster}\nnodes:\n{nodes}local: {{dir: {root}, user: {ME}}}\n{extra}"


def home_for_me(tmp_path: Path) -> Path:
    """A directory of ME's, whom the machine's programs run as, and the way to it."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    home = tmp_path / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, pwd.getpwnam(ME).pw_uid, pwd.getpwnam(ME).pw_gid)
    return home
