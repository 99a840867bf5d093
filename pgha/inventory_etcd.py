"""The store's section: which nodes run a member, or where an existing etcd is.

May import `pgha.inventory_*` below it.
"""

from __future__ import annotations

from pgha import inventory_forms as forms
from pgha.inventory_model import EtcdSpec
from pgha.inventory_nodes import Nodes
from pgha.inventory_section import Section, nearest
from pgha.inventory_yaml import Report, Spot, Tree, shown

TWO_WAYS = "add a third node, or name an existing store: etcd: {endpoints: [etcd1.example.org:2379]}"
MOST_MEMBERS = 7


def read(report: Report, tree: Tree | None, nodes: Nodes, nodes_spot: Spot) -> EtcdSpec:
    """The members default to the first 1, 3 or 5 nodes."""
    section = Section(report, tree, path="etcd")
    user = section.read("user", forms.user, "")
    ca, cert, key = (section.read(name, forms.local_file, "") for name in ("ca", "cert", "key"))
    password = section.read("password", forms.secret, None)
    for name, other in (("cert", "key"), ("key", "cert"), ("user", "password"), ("password", "user")):
        if section.has(name) and not section.has(other):
            step = f"add {other}: {section.key(other).example}, or delete {name}"
            report.add(section.at(name), f"etcd.{name} needs etcd.{other}", "one without the other is of no use", step)
    if section.has("cert") and not section.has("ca"):
        report.add(
            section.at("cert"), "etcd.cert needs etcd.ca", "without it there is no TLS", "add ca: /etc/pgha/etcd-ca.pem"
        )
    endpoints = _endpoints(section)
    if section.has("endpoints"):
        if section.has("nodes"):
            first = section.at("endpoints")
            because = f"etcd.endpoints in line {first.line} names an existing store"
            report.add(section.at("nodes"), "etcd has both nodes and endpoints", because, "keep one of them")
        if password is not None and password.form == "generate":
            because = "pgha does not set the passwords of an existing store"
            report.add(
                section.at("password"), "etcd.password: generate with endpoints", because, "write env:NAME or file:PATH"
            )
        members: tuple[str, ...] = ()
    else:
        members = _members(section, nodes, nodes_spot)
    return EtcdSpec(members, endpoints, ca, cert, key, user, password, section.read("bin_dir", forms.absolute, None))


def _endpoints(section: Section) -> tuple[str, ...]:
    seen: dict[str, Spot] = {}
    for spot, (scheme, endpoint) in section.items("endpoints", forms.host_port):
        if endpoint in seen:
            because = f"first in line {seen[endpoint].line}, again in line {spot.line}"
            section.report.add(spot, f"etcd.endpoints: {endpoint} is there twice", because, "delete one")
        if scheme == "https" and not section.has("ca"):
            section.report.add(
                spot,
                f"etcd.endpoints: https://{endpoint} without etcd.ca",
                "TLS needs an authority",
                "add ca: /etc/pgha/etcd-ca.pem",
            )
        if scheme == "http" and section.has("ca"):
            section.report.add(
                spot,
                f"etcd.endpoints: http://{endpoint} with etcd.ca",
                "ca turns TLS on for all endpoints",
                "write https://, or delete ca",
            )
        seen.setdefault(endpoint, spot)
    return tuple(seen)


def _members(section: Section, nodes: Nodes, nodes_spot: Spot) -> tuple[str, ...]:
    report, count = section.report, nodes.declared
    if count == 2:
        because = "of two members of a store neither may fail: a majority of two is two"
        report.add(nodes_spot, "two nodes can't hold the store by themselves", because, TWO_WAYS)
        return ()
    if not section.has("nodes"):
        return tuple(spec.name for spec in nodes.specs()[: 5 if count >= 5 else 3 if count >= 3 else 1])
    seen: dict[str, Spot] = {}
    written = section.items("nodes", forms.named_node)
    for spot, name in written:
        if name in seen:
            report.add(spot, f"etcd.nodes: {name} is there twice", f"first in line {seen[name].line}", "delete one")
        elif name not in nodes.names and len(nodes.names) == count > 0:
            close = nearest(name, sorted(nodes.names))
            step = f"did you mean {close}?" if close else "name a node, or list it under nodes"
            report.add(
                spot,
                f"etcd.nodes: {shown(name)} is no node of this inventory",
                f"nodes: {', '.join(sorted(nodes.names))}",
                step,
            )
        seen.setdefault(name, spot)
    if written and len(written) % 2 == 0:
        because = f"{len(seen)} members bear no more losses than {len(seen) - 1}, and there is one more that can fail"
        report.add(
            section.at("nodes"),
            f"etcd.nodes: {len(seen)} members, an even number",
            because,
            "name one node less, or one more",
        )
    if len(seen) > MOST_MEMBERS:
        report.add(
            section.at("nodes"),
            f"etcd.nodes: {len(seen)} members",
            f"at most {MOST_MEMBERS}: each write waits for a majority",
            "name 3 or 5",
        )
    return tuple(seen)
