"""A lab: hosts on one bridge, an operator with a key, and everything that can happen to them.

    with Lab("try").up([Spec("n1"), Spec("n2"), Spec("n3")]) as lab:
        lab.ssh("n1", ["sudo", "-n", "id"])
        lab.power_off("n1")

A lab lives in files and namespaces of its name, so another process can go on with it (`Lab.open`), and the next `up` of
the name removes what a killed run left. May import all of `tests.hosts`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from tests.hosts import cgroups, mirror, network, sources, tools, trees
from tests.hosts.host import Host, Made
from tests.hosts.network import Network
from tests.hosts.processes import argv_of, end, first_child, pids, spawn, with_word
from tests.hosts.shell import LabError, Ran, must, run, until

ROOT = Path("/var/tmp/pgha-hosts")
NAME = r"[a-z][a-z0-9]{0,11}"
SSH_S = 60.0


@dataclass(frozen=True, slots=True)
class Spec:
    """A host to make: `prepared`, `bare` (as the machine's release) or `bare-RELEASE`."""

    name: str
    kind: str = "prepared"


class Lab:
    """See the module. Everything is done as root; all waits have deadlines and end in LabError."""

    def __init__(self, name: str = "lab", *, root: Path = ROOT) -> None:
        if not name.isalnum() or len(name) > 12:
            raise LabError(f"not a lab's name: {name!r}: up to 12 letters and digits")
        self.name = name
        self.place = root / name
        self.network = Network(name)
        self.hosts: dict[str, Host] = {}
        self._nspawn: tools.Nspawn | None = None

    # -- its life --------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, name: str = "lab", *, root: Path = ROOT) -> Lab:
        """A lab that is there. Raises LabError when there is none of this name."""
        lab = cls(name, root=root)
        try:
            found = json.loads((lab.place / "lab.json").read_text())
        except OSError as e:
            raise LabError(f"there is no lab {name!r}: make it with up") from e
        lab.hosts = {made["name"]: lab._host(Made(**made)) for made in found["hosts"]}
        return lab

    def up(self, specs: Sequence[Spec]) -> Lab:
        """Make it and boot all hosts; what an earlier lab of this name left is removed first."""
        self.down()
        self._nspawn = tools.install()
        self.place.mkdir(parents=True, mode=0o700)
        self.known_hosts.parent.mkdir(parents=True)
        must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", self.key])
        self.network.make()
        self._start_mirror()
        self._make(specs)
        return self

    def add(self, *specs: Spec) -> None:
        """More hosts, booted; also a host that was removed, as a new one under its old name."""
        self._make(specs)

    def _make(self, specs: Sequence[Spec]) -> None:
        grown = {kind: trees.tree(kind, self.nspawn) for kind in {spec.kind for spec in specs}}
        fresh = []
        for spec in specs:
            if spec.name in self.hosts:
                raise LabError(f"{spec.name} is there already")
            taken = {host.address for host in self.hosts.values()}
            free = next(at for at in map(network.address, range(1, 90)) if at not in taken)
            self.hosts[spec.name] = self._host(Made(spec.name, spec.kind, free))
            fresh.append(self.hosts[spec.name])
        self._save()
        public = self.key.with_suffix(".pub").read_text()
        self._each(fresh, lambda host: self._trust(host, host.make(grown[host.kind], self.hosts_file(), public)))
        for host in self.hosts.values():
            if host not in fresh and os.path.ismount(host.disk):
                (host.disk / "etc/hosts").write_text(self.hosts_file())
        self._each(fresh, self._switch_on)
        self._each(fresh, lambda host: host.await_up())

    def remove(self, name: str) -> None:
        """A host is gone for good, with its disk."""
        self.power_off(name)
        host = self.hosts.pop(name)
        host.remove()
        self._save()
        kept = [line for line in self.known_hosts.read_text().splitlines() if not line.startswith(host.name + ",")]
        self.known_hosts.write_text("".join(line + "\n" for line in kept))

    def down(self) -> None:
        """Nothing is left: no process, mount, namespace, cable or file; also of a run that was killed."""
        disks = sorted(self.place.glob("hosts/*/disk"))
        for keeper in filter(None, [with_word(f"--directory={disk}") for disk in disks]):
            end([pid for pid in (first_child(keeper), keeper) if pid])
        for space in self._namespaces():
            there = [int(p) for p in run(["ip", "netns", "pids", space]).out.split()]
            end([p for p in there if p != os.getpid()])
            must(["ip", "netns", "del", space])
        for disk in disks:
            self._unmount(disk)
            cgroups.remove(f"{self.name}-{disk.parent.name}")
        if self.place.exists():
            shutil.rmtree(self.place)
        with contextlib.suppress(OSError):
            self.place.parent.rmdir()
        self.hosts = {}

    @staticmethod
    def _unmount(disk: Path) -> None:
        if os.path.ismount(disk):
            until(lambda: run(["umount", "-R", disk]).code == 0, within_s=20.0, what=f"{disk} is free")

    def _namespaces(self) -> list[str]:
        mine = self.network.operator
        found = [p.name for p in Path("/run/netns").glob("pgha-*")] if Path("/run/netns").exists() else []
        return sorted(n for n in found if n == mine or n.startswith(mine + "-"))

    def left_behind(self) -> list[str]:
        """What is there of this lab: namespaces, mounts, processes, files (for the test that `down` leaves nothing)."""
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {self.place}/" in line]
        place = f"{self.place}/".encode()
        running = [f"process {pid}" for pid in pids() if any(place in word for word in argv_of(pid))]
        return (
            self._namespaces()
            + mounts
            + running
            + cgroups.left(f"{self.name}-")
            + ([str(self.place)] if self.place.exists() else [])
        )

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # -- what an operator has --------------------------------------------------------------------------------

    @property
    def key(self) -> Path:
        """The operator's private key."""
        return self.place / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' keys, by name and address."""
        return self.home / ".ssh/known_hosts"

    @property
    def home(self) -> Path:
        """The operator's home directory, for programs that read ~/.ssh."""
        return self.place / "home"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`."""
        return self.place / "ssh_config"

    @property
    def user(self) -> str:
        """Who logs in: not root, sudo without a password."""
        return trees.ADMIN

    def hosts_file(self) -> str:
        """The hosts' and the operator's names, as in /etc/hosts."""
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"{network.OPERATOR} operator"]
        return "\n".join([*lines, *(f"{host.address} {host.name}" for host in self.hosts.values())]) + "\n"

    def host(self, name: str) -> Host:
        """A host by its name. Raises LabError."""
        if name not in self.hosts:
            raise LabError(f"the lab {self.name!r} has no host {name!r}: there are {', '.join(self.hosts)}")
        return self.hosts[name]

    def operator(self, argv: Sequence[str | Path], *, within_s: float = SSH_S, stdin: str | None = None) -> Ran:
        """A command of the operator's, in the lab's network."""
        return run(network.within(self.network.operator, argv), within_s=within_s, stdin=stdin)

    def ssh_argv(self, name: str, argv: Sequence[str] = ()) -> list[str]:
        """What the operator types to log in, or to run a command; nothing of it is read by a shell twice."""
        base = ["ssh", "-F", str(self.ssh_config), *([] if argv else ["-t"]), self.host(name).name]
        return network.within(self.network.operator, [*base, *([shlex.join(argv)] if argv else [])])

    def ssh(self, name: str, argv: Sequence[str], *, within_s: float = SSH_S, stdin: str | None = None) -> Ran:
        """A command on a host, over SSH as the admin, with pinned host key."""
        return run(self.ssh_argv(name, argv), within_s=within_s, stdin=stdin)

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """This thread in the lab's network (see `network.inside`)."""
        return network.inside(self.network.operator)

    # -- what can happen -------------------------------------------------------------------------------------

    def power_off(self, *names: str) -> None:
        """The plugs are pulled, all at one moment: first the cables are silent, then every process is gone."""
        hosts = [self.host(name) for name in names]
        for host in hosts:
            if host.pid:
                self.network.cut(host.name)
        self._each(hosts, lambda host: host.kill())
        for host in hosts:
            self.network.unplug(host.name)
            host.unmount()

    def boot(self, *names: str, wait: bool = True) -> None:
        """Power; the disk is as it was left. `wait`: until their systemd is content."""
        hosts = [self.host(name) for name in names]
        self._each(hosts, self._switch_on)
        if wait:
            self._each(hosts, lambda host: host.await_up())

    def shut_down(self, name: str) -> None:
        """An orderly `poweroff`, to its end."""
        host = self.host(name)
        host.shut_down()
        self.network.unplug(name)
        host.unmount()

    def reboot(self, name: str, *, wait: bool = True) -> None:
        """An orderly shutdown, then power again."""
        self.shut_down(name)
        self.boot(name, wait=wait)

    def cut(self, name: str) -> None:
        """The host's cable is pulled."""
        self.network.cut(self.host(name).name)

    def heal(self, *names: str) -> None:
        """Cables are back and rules gone; of all hosts when none is named."""
        for name in names or tuple(self.hosts):
            self.network.heal(self.host(name).name)

    def block(
        self, source: str, target: str, *, ports: Sequence[int] = (), one_way: bool = False, only: str = ""
    ) -> None:
        """Packets between two hosts (or `operator`) vanish; of TCP `ports` only, or from the first to the second.

        only: a further condition (see `Network.drop`).
        """
        pairs = [(source, target)] if one_way else [(source, target), (target, source)]
        for one, other in pairs:
            if other == "operator":
                self.network.drop(self.host(one).name, target=network.OPERATOR, ports=ports, only=only)
            else:
                self.network.drop(self.host(other).name, source=self._address(one), ports=ports, only=only)

    def freeze(self, name: str) -> None:
        """Every process of the host stands still; its kernel still answers."""
        self.host(name).freeze()

    def thaw(self, name: str) -> None:
        """And goes on."""
        self.host(name).thaw()

    # -- the rest --------------------------------------------------------------------------------------------

    @property
    def nspawn(self) -> tools.Nspawn:
        """How hosts are started."""
        self._nspawn = self._nspawn or tools.install()
        return self._nspawn

    def _address(self, name: str) -> str:
        return network.OPERATOR if name == "operator" else self.host(name).address

    def _host(self, made: Made) -> Host:
        return Host(made, self.place / "hosts" / made.name, self.network.namespace(made.name), self.name)

    def _switch_on(self, host: Host) -> None:
        if host.pid:
            raise LabError(f"{host.name} is on already")
        self.network.plug(host.name, host.address)
        host.switch_on(self.nspawn)

    @staticmethod
    def _each(hosts: Sequence[Host], do: Callable[[Host], object]) -> None:
        """For all of them at once; the first problem is raised when all are done."""
        if not hosts:
            return
        with ThreadPoolExecutor(len(hosts)) as pool:
            for done in [pool.submit(do, host) for host in hosts]:
                done.result()

    def _save(self) -> None:
        made = [asdict(Made(host.name, host.kind, host.address)) for host in self.hosts.values()]
        (self.place / "lab.json").write_text(json.dumps({"hosts": made}, indent=1))
        known = f"UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes"
        common = (
            f"User {self.user}\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n  BatchMode yes\n  ConnectTimeout 10"
        )
        blocks = [f"Host {h.name}\n  HostName {h.address}\n  HostKeyAlias {h.name}\n" for h in self.hosts.values()]
        self.ssh_config.write_text("".join(blocks) + f"Host *\n  {common}\n  {known}\n")

    def _trust(self, host: Host, public: str) -> None:
        kind, key = public.split()[:2]
        with self.known_hosts.open("a") as file:
            file.write(f"{host.name},{host.address} {kind} {key}\n")

    def _start_mirror(self) -> None:
        found = {source.plain: source.uri for source in sources.of_machine()}
        address, _, port = trees.PROXY.rpartition(":")
        with (self.place / "mirror.log").open("a") as log, Path("/proc/self/ns/net").open() as machine:
            argv = [sys.executable, "-I", mirror.__file__, address, port, str(tools.CACHE / "packages")]
            argv += [str(machine.fileno()), *(f"{plain}={uri}" for plain, uri in found.items())]
            spawn(network.within(self.network.operator, argv), env={}, output=log.fileno(), keep=[machine.fileno()])
        listening = f"{address}:{port}"
        until(
            lambda: listening in self.operator(["ss", "-Hltn"]).out,
            within_s=10.0,
            what=f"the packages' proxy listens; see {self.place / 'mirror.log'}",
        )


@contextlib.contextmanager
def lab(specs: Sequence[Spec], name: str = "lab") -> Iterator[Lab]:
    """A lab for as long as the block runs."""
    made = Lab(name)
    try:
        yield made.up(specs)
    finally:
        made.down()
