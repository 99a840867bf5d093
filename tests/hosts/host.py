"""One host: a disk (an overlay over a tree), a power switch, a console. Its network is plugged in by the lab.

May import `shell`, `tools`, `trees`, `network`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
        self._lab = lab
        self._place = place
        self.disk = place / "disk"  # its root directory, while it is mounted
        self.console = place / "console.log"

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
        must(["mount", "-t", "overlay", f"pgha-hosts-{self._lab}-{self.name}", "-o", options, self.disk])

    def unmount(self) -> None:
        """The disk is out; waits for the last process that held it."""
        if os.path.ismount(self.disk):
            until(lambda: run(["umount", self.disk]).code == 0, within_s=OFF_S, what=f"{self.name}'s disk is free")

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
            spawn(argv, env=nspawn.env, output=console.fileno())
        until(lambda: bool(self.pid), within_s=10.0, what=f"{self.name} has a first process; see {self.console}")

    @property
    def nspawn_pid(self) -> int:
        """The process that keeps the host; 0 while it is off."""
        wanted = f"--directory={self.disk}".encode()
        return next((pid for pid in pids() if wanted in argv_of(pid)), 0)

    @property
    def pid(self) -> int:
        """The host's process 1 as the machine numbers it; 0 while it is off."""
        keeper = self.nspawn_pid
        if not keeper:
            return 0
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
            for child in map(int, children):
                if _is_first_of_its_kind(child):
                    return child
        return 0

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
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)
        self.await_off()

    def shut_down(self) -> None:
        """An orderly end, as `poweroff` makes it."""
        self.run(["systemctl", "--no-block", "poweroff"])
        self.await_off(within_s=BOOT_S)

    def await_off(self, *, within_s: float = OFF_S) -> None:
        """Until no process of it is left."""
        until(lambda: not self.nspawn_pid, within_s=within_s, what=f"{self.name} is off")

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
        with contextlib.suppress(OSError):
            mine = os.readlink(f"/proc/{first}/ns/pid")
            return {p: [w.decode(errors="replace") for w in argv_of(p)] for p in pids() if _pid_space(p) == mine}
        return {}

    def freeze(self) -> None:
        """Every process stands still (as a virtual machine that gets no processor)."""
        stopped: set[int] = set()
        while more := set(self.processes()) - stopped:
            for pid in more:
                _send(pid, signal.SIGSTOP)
            stopped |= more

    def thaw(self) -> None:
        """Every process goes on."""
        for pid in self.processes():
            _send(pid, signal.SIGCONT)


# -- processes of the machine ----------------------------------------------------------------------------------


def spawn(argv: Sequence[str], *, env: dict[str, str], output: int, keep: Sequence[int] = ()) -> None:
    """Start a program that outlives this one, in a session of its own, never a child of this process.

    The program's files: nothing to read, `output` to write, and those of `keep`.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for fd in keep:
            os.set_inheritable(fd, True)
        os.chdir("/")
        os.execvpe(argv[0], list(argv), {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", **env})
    finally:
        os._exit(127)


def pids() -> list[int]:
    """All processes of the machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def argv_of(pid: int) -> list[bytes]:
    """A process' argv; empty when it is gone or only waits to be collected."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    return []


def end(them: Sequence[int], *, within_s: float = OFF_S) -> None:
    """SIGKILL, and wait until they are gone."""
    for pid in them:
        _send(pid, signal.SIGKILL)
    deadline = time.monotonic() + within_s
    while left := [pid for pid in them if argv_of(pid)]:
        if time.monotonic() > deadline:
            raise LabError(f"still there: {left}")
        time.sleep(0.02)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _pid_space(pid: int) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""


def _is_first_of_its_kind(pid: int) -> bool:
    """It is number 1 of a process namespace of its own."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1] == "1"
    return False
