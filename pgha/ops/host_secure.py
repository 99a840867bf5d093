"""etcd's certificates on the hosts: one authority a cluster, kept on the hosts only, so that a later run can go on.

What is there and good is left alone. Keys go over standard input into files that only their user reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pgha.errors import Refused
from pgha.ops import host_nodes as places
from pgha.ops.host_nodes import HostNode
from pgha.ops.host_steps import HostSteps

HERE = ("127.0.0.1", "localhost")  # through a tunnel the store is reached under these names


@dataclass(frozen=True, slots=True)
class Authority:
    """Makes certificates (`adapters.certificates`): PEM texts, a certificate with its key."""

    make: Callable[[str], tuple[str, str]]
    issue: Callable[[tuple[str, str], Sequence[str]], tuple[str, str]]
    is_good: Callable[[str, str | None, Sequence[str]], bool]


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


def put(steps: HostSteps, authority: tuple[str, str], how: Authority) -> str:
    """The host's certificates; says what it did."""
    node = steps.node
    steps.root.make_dir(node.tls_dir, 0o755)
    made = steps.put(node.tls("ca.pem"), authority[0])
    if steps.root.read(node.tls("ca.key")) != authority[1]:
        steps.root.write(node.tls("ca.key"), authority[1])
    wanted: list[tuple[str, str, tuple[str, ...]]] = [("client", places.USER, ())]
    if node.has_etcd:
        wanted.append(("etcd", places.ETCD_USER, (node.host, *HERE)))
    for kind, user, hosts in wanted:
        if not how.is_good(authority[0], steps.root.read(node.tls(f"{kind}.pem")), hosts):
            certificate, key = how.issue(authority, hosts)
            steps.give(node.tls(f"{kind}.key"), key, user)
            steps.put(node.tls(f"{kind}.pem"), certificate)
            made = True
    return "certificates made" if made else "certificates already there"


def member_options(node: HostNode) -> dict[str, str]:
    """etcd's options for TLS to clients and members, both with certificates of ours only."""
    files = {"cert-file": node.tls("etcd.pem"), "key-file": node.tls("etcd.key"), "trusted-ca-file": node.tls("ca.pem")}
    options = {f"--{prefix}{name}": path for prefix in ("", "peer-") for name, path in files.items()}
    return options | {"--client-cert-auth": "true", "--peer-client-cert-auth": "true"}
