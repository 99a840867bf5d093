"""One host: a disk (an overlay over a tree), a power switch, a console. Its network is plugged in by the lab.

May import `shell`, `processes`, `cgroups`, `tools`, `trees`.
"""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.hosts import cgroups
from tests.hosts.processes import argv_of, first_child, pids, send, space_of, spawn, with_word
from tests.hosts.shell import PATH, LabError, Ran, must, run, until
from tests.hosts.tools import Nspawn
from tests.hosts.trees import ADMIN, Tree

BOOT_S = 60.0
OFF_S = 20.0
BOOTED = ("running", "degraded")


@dataclass(frozen=True, slots=True)
class Made:
    """What a host is made of and where."""

    name: str
    kind: str
    address: str


class Host:
    """A host of a lab. `place` is its directory."""

    def __init__(self, made: Made, place: Path, namespace: str, lab: str) -> None:
        self.name = made.name
        self.kind = made.kind
        self.address = made.address
        self.namespace = namespace
        self.group = f"{lab}-{made.name}"
        self._place = place
        self.disk = place / "disk"  # its root directory, while it is mounted
        self.console = place / "console.log"
        self._more: dict[str, Path] = {}  # further disks: path on the host, image

    def __repr__(self) -> str:
        return f"{self.name} ({self.kind}, {self.address})"

    # -- the disk --------------------------------------------------------------------------------------------

    def make(self, tree: Tree, hosts_file: str, public_key: str) -> str:
        """A new disk with the host's name, keys and the admin's key; gives its public host key."""
        for folder in (self.disk, self._place / "work"):
            folder.mkdir(parents=True)
        upper = self._place / "upper"
        upper.mkdir() if tree.seed is None else must(["cp", "-a", tree.seed, upper], within_s=OFF_S)
        self._place.joinpath("lower").write_text(str(tree.lower))
        self.mount()
        etc = self.disk / "etc"
        (etc / "hostname").write_text(self.name + "\n")
        (etc / "hosts").write_text(hosts_file)
        (etc / "machine-id").write_text(uuid.uuid4().hex + "\n")  # not empty: that would be a first boot, with presets
        key = etc / "ssh/ssh_host_ed25519_key"
        must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", key])
        keys = self.disk / "home" / ADMIN / ".ssh/authorized_keys"
        owner = (self.disk / "home" / ADMIN).stat()
        keys.parent.mkdir(mode=0o700)
        keys.write_text(public_key)
        keys.chmod(0o600)
        for path in (keys.parent, keys):
            os.chown(path, owner.st_uid, owner.st_gid)
        return key.with_suffix(".pub").read_text().strip()

    def mount(self) -> None:
        """The disk is in."""
        if os.path.ismount(self.disk):
            return
        lower = self._place.joinpath("lower").read_text()
        options = f"lowerdir={lower},upperdir={self._place / 'upper'},workdir={self._place / 'work'}"
        must(["mount", "-t", "overlay", f"pgha-hosts-{self.group}", "-o", options, self.disk])
        for path, image in self._more.items():
            must(["mount", "-o", "loop", image, self.disk / path.lstrip("/")])

    def add_disk(self, image: Path, path: str) -> None:
        """A further disk at this path, from now on; the host is off and its disk is in."""
        self._more[path] = image
        must(["mount", "-o", "loop", image, self.disk / path.lstrip("/")])

    def unmount(self) -> None:
        """The disk is out; waits for the last process that held it."""
        if os.path.ismount(self.disk):
            until(
                lambda: run(["umount", "-R", self.disk]).code == 0, within_s=OFF_S, what=f"{self.name}'s disk is free"
            )

    def remove(self) -> None:
        """Nothing of the host is left on the machine's disk."""
        self.unmount()
        shutil.rmtree(self._place, ignore_errors=True)
        if self._place.exists():
            raise LabError(f"{self._place} can't be removed")

    # -- power -----------------------------------------------------------------------------------------------

    def switch_on(self, nspawn: Nspawn) -> None:
        """Power. `await_up` waits for the boot's end."""
        self.mount()
        argv = [nspawn.program, "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"]
        argv += ["--link-journal=no", "--resolv-conf=off", "--timezone=off", "--capability=all"]
        argv += [f"--machine={self.name}", f"--network-namespace-path=/run/netns/{self.namespace}"]
        argv += [f"--directory={self.disk}"]
        # the rest is its kernel's command line: systemd of Debian 13 refuses a machine with version 1 of cgroups else
        argv += ["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]
        with self.console.open("a") as console:
            spawn(argv, env=nspawn.env, output=console.fileno(), group=self.group)
        until(lambda: bool(self.pid), within_s=10.0, what=f"{self.name} has a first process; see {self.console}")

    @property
    def nspawn_pid(self) -> int:
        """The process that keeps the host; 0 while it is off."""
        return with_word(f"--directory={self.disk}")

    @property
    def pid(self) -> int:
        """The host's process 1 as the machine numbers it; 0 while it is off."""
        keeper = self.nspawn_pid
        return first_child(keeper) if keeper else 0

    def state(self) -> str:
        """What its systemd says: running, degraded, starting, ...; off."""
        if not self.pid:
            return "off"
        try:
            return self.run(["systemctl", "is-system-running"], within_s=5.0).out.strip() or "starting"
        except LabError:
            return "starting" if self.pid else "off"

    def await_up(self, *, within_s: float = BOOT_S) -> str:
        """Until the boot is done; gives systemd's word."""
        until(
            lambda: self.state() in BOOTED,
            within_s=within_s,
            what=f"{self.name} is up; see {self.console}",
            every_s=0.1,
        )
        return self.state()

    def kill(self) -> None:
        """The plug is pulled: every process ends at once, in no order."""
        first = self.pid
        if first:
            send(first, signal.SIGKILL)
        self.await_off()

    def shut_down(self) -> None:
        """An orderly end, as `poweroff` makes it."""
        self.run(["systemctl", "--no-block", "poweroff"])
        self.await_off(within_s=BOOT_S)

    def await_off(self, *, within_s: float = OFF_S) -> None:
        """Until no process of it is left."""
        until(lambda: not self.nspawn_pid, within_s=within_s, what=f"{self.name} is off")
        cgroups.remove(self.group)

    # -- its processes ---------------------------------------------------------------------------------------

    def run(self, argv: Sequence[str], *, user: str = "root", within_s: float = 60.0, stdin: str | None = None) -> Ran:
        """A command on the host's console. Raises LabError when the host is off, or the command takes too long."""
        first = self.pid
        if not first:
            raise LabError(f"{self.name} is off")
        words = ["nsenter", "-t", str(first), "-a", "--", "env", "-i", f"PATH={PATH}", "LC_ALL=C.UTF-8", "HOME=/root"]
        if user != "root":
            words += ["runuser", "-u", user, "--"]
        return run([*words, *argv], within_s=within_s, stdin=stdin)

    def must(self, argv: Sequence[str], *, user: str = "root", within_s: float = 60.0, stdin: str | None = None) -> str:
        """The same; what it wrote. Raises LabError when it ends with another code than 0."""
        ran = self.run(argv, user=user, within_s=within_s, stdin=stdin)
        if ran.code != 0:
            raise LabError(f"{self.name}: {' '.join(argv)[:300]}: {ran}")
        return ran.out

    def processes(self) -> dict[int, list[str]]:
        """The machine's numbers of all processes of the host, each with its argv."""
        first = self.pid
        if not first:
            return {}
        mine = space_of(first)
        return {p: [w.decode(errors="replace") for w in argv_of(p)] for p in pids() if mine and space_of(p) == mine}

    def freeze(self) -> None:
        """Every process stands still (as a virtual machine that gets no processor)."""
        stopped: set[int] = set()
        while more := set(self.processes()) - stopped:
            for pid in more:
                send(pid, signal.SIGSTOP)
            stopped |= more

    def thaw(self) -> None:
        """Every process goes on."""
        for pid in self.processes():
            send(pid, signal.SIGCONT)
