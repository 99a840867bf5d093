"""A real etcd cluster of one or three processes on loopback, to be stopped, killed and brought back.

The members run as user postgres (when we are root) in directories of their own, and die with the thread that started
them. What is asked of etcd here goes through its HTTP gateway, so that no test trusts the client it tests.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pgha.adapters.binaries import find_etcd
from pgha.adapters.certificates import issue, make_authority
from pgha.nodefile import StoreAccess

USER = "postgres"


def _opener(tls: Path | None) -> urllib.request.OpenerDirector:
    """HTTP(S) without a proxy, whatever the environment says."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if tls is not None:
        context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        context.load_cert_chain(tls / "own.pem", tls / "own.key")
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


@dataclass(slots=True)
class Member:
    """One process. `process` is None while it is not running."""

    name: str
    client: int
    peer: int
    data: Path
    tls: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    stopped: bool = False

    @property
    def endpoint(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.client}"

    @property
    def url(self) -> str:
        """Its address for clients, as etcd wants it."""
        return f"{'http' if self.tls is None else 'https'}://{self.endpoint}"

    def ask(self, path: str, body: Mapping[str, object], *, token: str = "", timeout: float = 2.0) -> dict[str, object]:
        """POST to the HTTP gateway; the JSON answer. Raises OSError."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(body).encode(), headers)
        with _opener(self.tls).open(request, timeout=timeout) as answer:
            said: dict[str, object] = json.load(answer)
        return said

    def healthy(self) -> bool:
        """Whether it answers linearizably."""
        try:
            with _opener(self.tls).open(f"{self.url}/health", timeout=1.0) as answer:
                return bool(json.load(answer)["health"] == "true")
        except (OSError, ValueError):
            return False


class EtcdCluster:
    """Members m1..mn under `directory` (which user postgres must be able to reach).

    tls: a directory as `certificates_in` fills it: clients then need a certificate too.
    """

    def __init__(
        self, directory: Path, members: int = 3, options: tuple[str, ...] = (), tls: Path | None = None
    ) -> None:
        self.binary = find_etcd(None)
        known = subprocess.run([self.binary, "--help"], capture_output=True, check=False, text=True)
        wanted = {
            "--unsafe-no-fsync": "",
            "--auto-compaction-mode": "=periodic",
            "--auto-compaction-retention": "=5m",
            "--log-level": "=error",
        }
        self.options = [o + value for o, value in wanted.items() if o in known.stdout + known.stderr] + list(options)
        ports = _free_ports(2 * members)
        self.members = [
            Member(f"m{i + 1}", ports[2 * i], ports[2 * i + 1], directory / f"m{i + 1}", tls) for i in range(members)
        ]

    @property
    def access(self) -> StoreAccess:
        """How a client reaches it."""
        plain = StoreAccess(endpoints=tuple(m.endpoint for m in self.members))
        tls = self.members[0].tls
        if tls is None:
            return plain
        ca, cert, key = (str(tls / name) for name in ("ca.pem", "client.pem", "client.key"))
        return replace(plain, ca_file=ca, cert_file=cert, key_file=key)

    def start(self) -> None:
        """Start all members and wait until each is healthy."""
        for member in self.members:
            self.run(member)
        self.await_healthy()

    def run(self, member: Member) -> None:
        """Start one member, with the data it has."""
        if not member.data.exists():
            member.data.mkdir(mode=0o700)
            if os.geteuid() == 0:
                shutil.chown(member.data, USER)
        all_peers = ",".join(f"{m.name}=http://127.0.0.1:{m.peer}" for m in self.members)
        argv = [
            *_as_user(),
            self.binary,
            f"--name={member.name}",
            f"--data-dir={member.data}/etcd",
            f"--listen-client-urls={member.url}",
            f"--advertise-client-urls={member.url}",
            f"--listen-peer-urls=http://127.0.0.1:{member.peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{member.peer}",
            f"--initial-cluster={all_peers}",
            *self.options,
            *_tls_options(member.tls),
        ]
        with (member.data.parent / f"{member.name}.log").open("ab") as log:
            member.process = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/")
        member.stopped = False

    def await_healthy(self, timeout_s: float = 20.0) -> None:
        """Wait until every running member answers linearizably. Raises TimeoutError."""
        running = [m for m in self.members if m.process and not m.stopped]
        await_true(lambda: all(m.healthy() for m in running), timeout_s, "etcd does not get healthy")

    def leader(self) -> Member:
        """The member that leads, by what a running majority says. Raises TimeoutError."""
        found: list[Member] = []

        def look() -> bool:
            said = {}
            for member in (m for m in self.members if m.process and not m.stopped):
                with contextlib.suppress(OSError):
                    said[member.name] = member.ask("maintenance/status", {})
            leaders = {str(s.get("leader", "0")) for s in said.values()}
            found[:] = [m for m in self.members if m.name in said and _member_id(said[m.name]) in leaders]
            return len(leaders) == 1 and len(found) == 1

        await_true(look, 20.0, "no etcd leader")
        return found[0]

    def stop(self, member: Member) -> None:
        """SIGSTOP, and wait until it stands still: it keeps its connections and says nothing."""
        self._signal(member, signal.SIGSTOP)
        member.stopped = True
        await_true(lambda: _stands_still(member), 5, f"{member.name} does not stop")

    def go_on(self, member: Member) -> None:
        """SIGCONT."""
        self._signal(member, signal.SIGCONT)
        member.stopped = False

    def kill(self, member: Member) -> None:
        """SIGKILL, and wait for its end."""
        if member.process:
            member.process.kill()
            member.process.wait(10)
        member.process, member.stopped = None, False

    def mend(self) -> None:
        """All members running and healthy again."""
        for member in self.members:
            if member.process is None:
                self.run(member)
            elif member.stopped:
                self.go_on(member)
        self.await_healthy()

    def close(self) -> None:
        """No process is left."""
        for member in self.members:
            self.kill(member)

    def put(self, key: str, value: str) -> None:
        """A write past the client under test."""
        body = {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value.encode()).decode()}
        self.leader().ask("kv/put", body)

    def compact(self, revision: int) -> None:
        """Forget what was before a revision."""
        self.leader().ask("kv/compaction", {"revision": str(revision), "physical": True})

    def enable_auth(self, user: str, password: str) -> None:
        """Users root and `user` (role root), and authentication on."""
        leader = self.leader()
        for name in ("root", user):
            leader.ask("auth/user/add", {"name": name, "password": password})
        leader.ask("auth/role/add", {"name": "root"})
        for name in ("root", user):
            leader.ask("auth/user/grant", {"user": name, "role": "root"})
        leader.ask("auth/enable", {})

    def _signal(self, member: Member, number: int) -> None:
        if member.process is None:
            raise ValueError(f"{member.name} is not running")
        member.process.send_signal(number)


def _tls_options(tls: Path | None) -> list[str]:
    if tls is None:
        return []
    files = (f"--trusted-ca-file={tls}/ca.pem", f"--cert-file={tls}/own.pem", f"--key-file={tls}/own.key")
    return [*files, "--client-cert-auth"]


def _stands_still(member: Member) -> bool:
    """Every thread is in state T."""
    if member.process is None:
        return True
    states = []
    for task in Path(f"/proc/{member.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return set(states) == {"T"}


def _member_id(status: Mapping[str, object]) -> str:
    header = status.get("header")
    return str(header.get("member_id")) if isinstance(header, dict) else ""


def _as_user() -> list[str]:
    """Drop root, then ask to die with the parent; in this order, since a change of user forgets that wish."""
    if os.geteuid() == 0:
        return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--pdeathsig=KILL"]
    return ["setpriv", "--pdeathsig=KILL"]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def await_true(condition: Callable[[], bool], timeout_s: float, complaint: str) -> None:
    """Look every 50 ms until it holds. Raises TimeoutError."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(complaint)
        time.sleep(0.05)


def certificates_in(directory: Path) -> Path:
    """As bootstrap makes them: an authority, a certificate for 127.0.0.1 that serves and asks, one that only asks."""
    authority = make_authority("shop")
    pairs = {"ca": authority, "own": issue(authority, ("127.0.0.1",)), "client": issue(authority, ())}
    for name, (certificate, key) in pairs.items():
        (directory / f"{name}.pem").write_text(certificate)
        (directory / f"{name}.key").write_text(key)
        if os.geteuid() == 0:
            shutil.chown(directory / f"{name}.key", USER)
    return directory


def expiring_tokens(directory: Path) -> str:
    """etcd's option for signed tokens that end after a second, whether they are used or not."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = rsa.generate_private_key(65537, 2048)
    private, public = directory / "token.key", directory / "token.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    if os.geteuid() == 0:
        shutil.chown(private, USER)
    return f"--auth-token=jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl=1s"


@contextlib.contextmanager
def etcd_directory() -> Iterator[Path]:
    """A directory that user postgres can pass through; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pgha-etcd-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


@contextlib.contextmanager
def etcd_cluster(members: int = 3, options: tuple[str, ...] = (), tls: Path | None = None) -> Iterator[EtcdCluster]:
    """A healthy cluster in a directory of its own; both are gone afterwards."""
    with etcd_directory() as directory:
        cluster = EtcdCluster(directory, members, options, tls)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.close()
