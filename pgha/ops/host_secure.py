"""Certificates and passwords on the hosts: one authority a cluster, kept there only, so that a later run can go on.

What is there and good is left alone. Keys go over standard input into files that only their user reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pgha import nodefile
from pgha.errors import Refused
from pgha.ops import host_nodes as places
from pgha.ops.host_nodes import HostNode
from pgha.ops.host_steps import COMMAND_S, HostSteps, must
from pgha.ops.newdata import new_password
from pgha.ops.target import LOGIN_FILE, ROOT_LOGIN_FILE

RELOAD = 'read -r pid <"$1" && kill -HUP "$pid"'  # a server that runs takes its new certificate; others at their start
OFFERS = r"""
i=0; while [ "$i" -lt 75 ]; do
  said=$("$@" 2>/dev/null); [ "$said" != on ] || exit 0; i=$((i + 1)); sleep 0.2
done; [ "$said" != off ]
"""
HERE = ("127.0.0.1", "localhost")  # through a tunnel the store is reached under these names


@dataclass(frozen=True, slots=True)
class Authority:
    """Makes certificates (`adapters.certificates`): PEM texts, a certificate with its key."""

    make: Callable[[str], tuple[str, str]]
    issue: Callable[[tuple[str, str], Sequence[str]], tuple[str, str]]
    is_good: Callable[[str, str | None, Sequence[str]], bool]
    days_left: Callable[[str], int] = lambda _certificate: 0


def authority_of(steps: Mapping[str, HostSteps], how: Authority) -> tuple[str, str]:
    """The cluster's, from the first host that has it, else a new one. Raises Refused when hosts have different ones."""
    found: dict[tuple[str, str], str] = {}
    cluster = ""
    for name, one in steps.items():
        cluster = one.node.cluster
        certificate, key = one.root.read(one.node.tls("ca.pem")), one.root.read(one.node.tls("ca.key"))
        if certificate and key:
            found.setdefault((certificate, key), name)
    if len(found) > 1:
        names = " and ".join(found.values())
        raise Refused(f"{names} have different certificate authorities", "one cluster has one", "keep the right one")
    return next(iter(found)) if found else how.make(cluster)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What every host gets. store: files for its agent, by name, `password` among them; root_password: of its own etcd,
    "" without one."""

    authority: tuple[str, str] = field(repr=False)
    store: Mapping[str, str] = field(repr=False)
    root_password: str = field(repr=False)


def gathered(steps: Mapping[str, HostSteps], how: Authority, given: Mapping[str, str], *, own_store: bool) -> Secrets:
    """The cluster's, as an earlier run left them, else made. given: the operator's files for the store, by name."""
    store, root = dict(given), ""
    if own_store:
        root = _known(steps, ROOT_LOGIN_FILE) or new_password()
        store.setdefault(LOGIN_FILE, _known(steps, LOGIN_FILE) or new_password())
    return Secrets(authority_of(steps, how), store, root)


def _known(steps: Mapping[str, HostSteps], name: str) -> str:
    """The first host's that has it; "" when none has."""
    return next((text for one in steps.values() if (text := (one.root.read(one.node.tls(name)) or "").strip())), "")


def put(steps: HostSteps, secrets: Secrets, how: Authority) -> str:
    """The host's certificates and passwords; says what it did."""
    node, authority = steps.node, secrets.authority
    steps.root.make_dir(node.tls_dir, 0o755)
    made = steps.put(node.tls("ca.pem"), authority[0])
    if steps.root.read(node.tls("ca.key")) != authority[1]:
        steps.root.write(node.tls("ca.key"), authority[1])
    # Before version 15 libpq looks for an address among the names.
    wanted: list[tuple[str, str, tuple[str, ...]]] = [("postgres", places.USER, (node.host, f"dns:{node.host}"))]
    if secrets.root_password:
        wanted.append(("client", places.USER, ()))
    if node.has_etcd:
        wanted.append(("etcd", places.ETCD_USER, (node.host, *HERE)))
    for kind, user, hosts in wanted:
        if not how.is_good(authority[0], steps.root.read(node.tls(f"{kind}.pem")), hosts):
            certificate, key = how.issue(authority, hosts)
            steps.give(node.tls(f"{kind}.key"), key, user)
            steps.put(node.tls(f"{kind}.pem"), certificate)
            made = True
            if kind == "postgres":
                steps.user.run(["sh", "-c", RELOAD, "sh", f"{node.data_dir}/postmaster.pid"], timeout_s=COMMAND_S)
    made = _put_store_files(steps, secrets) or made
    return "certificates and passwords made" if made else "certificates already there"


def _put_store_files(steps: HostSteps, secrets: Secrets) -> bool:
    """What the agent logs in to the store with, and etcd's root password; whether something changed."""
    node, made = steps.node, False
    for name, text in secrets.store.items():
        if steps.root.read(node.tls(name)) != text:
            steps.give(node.tls(name), text, places.USER)
            made = True
    if secrets.root_password and steps.root.read(node.tls(ROOT_LOGIN_FILE)) != secrets.root_password:
        steps.root.write(node.tls(ROOT_LOGIN_FILE), secrets.root_password)
        made = True
    return made


def server_tls(node: HostNode, *, required: bool) -> nodefile.ServerTls:
    """For the node file."""
    return nodefile.ServerTls(node.tls("ca.pem"), node.tls("postgres.pem"), node.tls("postgres.key"), required)


def present_tls(steps: HostSteps) -> nodefile.ServerTls | None:
    """What the node's file says now."""
    text = steps.root.read(steps.node.node_file_path)
    try:
        return nodefile.parse(text).tls if text else None
    except ValueError:
        return None


def is_without_tls(steps: HostSteps) -> bool:
    """The node runs by a file of a version that knew no TLS, or has not got past offering it."""
    tls = present_tls(steps)
    return steps.root.read(steps.node.node_file_path) is not None and (tls is None or not tls.required)


def await_offer(steps: HostSteps, bin_dir: str) -> None:
    """Until the node's server, if it runs, speaks TLS to whoever wants it. Raises RolledBack."""
    node = steps.node
    psql = [f"{bin_dir}/psql", "-XqAt", "-h", node.socket_dir, "-p", str(node.port), "-d", "postgres", "-c", "SHOW ssl"]
    ran = steps.user.run(["sh", "-c", OFFERS, "sh", *psql], timeout_s=COMMAND_S)
    must(ran, f"{node.name}: its server does not offer TLS")


def member_options(node: HostNode) -> dict[str, str]:
    """etcd's options for TLS to clients and members, both with certificates of ours only."""
    files = {"cert-file": node.tls("etcd.pem"), "key-file": node.tls("etcd.key"), "trusted-ca-file": node.tls("ca.pem")}
    options = {f"--{prefix}{name}": path for prefix in ("", "peer-") for name, path in files.items()}
    return options | {"--client-cert-auth": "true", "--peer-client-cert-auth": "true"}
