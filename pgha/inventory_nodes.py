"""The nodes: their names, addresses, ports and directories, and that no two of them are the same one.

May import `pgha.inventory_*` below it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from pgha import inventory_forms as forms
from pgha.inventory_forms import Wrong
from pgha.inventory_keys import BY_PATH
from pgha.inventory_model import LocalSpec, NodeSpec, PostgresSpec
from pgha.inventory_section import Section, apply
from pgha.inventory_yaml import Items, Report, Scalar, Spot, Table, Tree

MOST_NODES = 100
SOCKET_ROOM = 84  # of the 107 bytes of a socket's path; `/sock/.s.PGSQL.65535` and a little must follow


@dataclass(slots=True)
class Nodes:
    """The nodes that could be read. declared: how many the file has, unreadable ones included; 0 when unknown."""

    found: list[tuple[Spot, NodeSpec]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    declared: int = 0

    def specs(self) -> tuple[NodeSpec, ...]:
        """The values, in the order of the file."""
        return tuple(spec for _, spec in self.found)


def read(report: Report, tree: Tree | None, postgres: PostgresSpec) -> Nodes:
    """A list of hosts, or a map of names."""
    if isinstance(tree, Items):
        nodes = _list(report, tree, postgres)
    elif isinstance(tree, Table):
        nodes = _map(report, tree, postgres)
    else:
        nodes = Nodes()
        if tree is not None and tree.kind != "broken":
            found = "nothing" if tree.kind == "null" else "a single value"
            report.add(
                tree.spot,
                f"nodes: expected a list or a map, found {found}",
                "",
                f"for example nodes: {BY_PATH['nodes'].example}",
            )
    if tree is not None and nodes.declared > MOST_NODES:
        report.add(
            tree.spot, f"nodes: {nodes.declared} of them", f"at most {MOST_NODES}", "write one file for each cluster"
        )
        nodes.found.clear()  # comparing all with all is not worth it
    if isinstance(tree, Items | Table) and not nodes.declared:
        report.add(
            tree.spot,
            "nodes: there is none",
            "a cluster has at least one node",
            f"for example nodes: {BY_PATH['nodes'].example}",
        )
    if nodes.declared and len(nodes.found) == nodes.declared and all(spec.nofailover for spec in nodes.specs()):
        report.add(
            nodes.found[0][0], "every node has nofailover", "nobody could ever be primary", "take it away from one node"
        )
    return nodes


def name_of(host: str) -> str:
    """The name of a node that stands in a list: first DNS label, or node-192-0-2-11. Not checked."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.partition(".")[0]
    return "node-" + host.replace(".", "-").replace(":", "-").strip("-")


def _quoted(host: str) -> str:
    return f"'{host}'" if ":" in host else host


def _list(report: Report, tree: Items, postgres: PostgresSpec) -> Nodes:
    nodes, places = Nodes(declared=len(tree.items)), dict[str, tuple[Spot, str]]()
    for number, item in enumerate(tree.items, 1):
        label = f"nodes, entry {number}"
        if not isinstance(item, Scalar):
            step = "write a map instead: nodes: {db1: {host: 192.0.2.11}}"
            report.add(item.spot, f"{label}: expected a host", "a list holds addresses only", step)
            continue
        host = apply(report, item, forms.host, key=BY_PATH["nodes[]"], label=label)
        if host is None:
            continue
        name = name_of(host)
        try:
            forms.node_name(name)
        except Wrong as e:
            report.add(
                item.spot,
                f"{label}: {e.what}",
                e.accepted,
                f"give it a name: nodes: {{db1: {{host: {_quoted(host)}}}}}",
            )
            continue
        first = places.setdefault(name, (item.spot, host))
        nodes.names.add(name)
        if first[0] != item.spot and first[1] != host:
            what = f"{label}: {host} and {first[1]} in line {first[0].line} would both be named {name}"
            report.add(
                item.spot,
                what,
                "a list names its nodes by the first DNS label",
                f"write a map: nodes: {{db1: {{host: {_quoted(host)}}}}}",
            )
        # The same host twice is found by `distinct`, as the same address.
        nodes.found.append((item.spot, NodeSpec(name, host, postgres.port, postgres.data_dir)))
    return nodes


def _map(report: Report, tree: Table, postgres: PostgresSpec) -> Nodes:
    nodes = Nodes(declared=len(tree.keys) + tree.refused)
    for name, spot in tree.keys.items():
        try:
            forms.node_name(name)
        except Wrong as e:
            report.add(spot, f"nodes: {e.what}", e.accepted, e.next_step or "for example db1")
            continue
        nodes.names.add(name)
        spec = _one(report, tree.entries.get(name), name, postgres)
        if spec is not None:
            nodes.found.append((spot, spec))
    return nodes


def _one(report: Report, tree: Tree | None, name: str, postgres: PostgresSpec) -> NodeSpec | None:
    label = f"nodes.{name}"
    if isinstance(tree, Scalar):
        host = apply(report, tree, forms.host, key=BY_PATH["nodes.NAME.host"], label=label)
        return NodeSpec(name, host, postgres.port, postgres.data_dir) if host else None
    section = Section(report, tree, path="nodes.NAME", label=label)
    section.require("host")
    host = section.read("host", forms.host, None)
    plain = NodeSpec(name, host or "", postgres.port)
    spec = NodeSpec(
        name=name,
        host=plain.host,
        port=section.read("port", forms.port, plain.port),
        data_dir=section.read("data_dir", forms.directory, None) or postgres.data_dir,
        priority=section.read("priority", forms.whole(0, 1000), plain.priority),
        nofailover=section.read("nofailover", forms.flag, plain.nofailover),
        nosync=section.read("nosync", forms.flag, plain.nosync),
        clonefrom=section.read("clonefrom", forms.flag, plain.clonefrom),
        noloadbalance=section.read("noloadbalance", forms.flag, plain.noloadbalance),
        follow=section.read("follow", forms.named_node, plain.follow),
        etcd_client_port=section.read("etcd_client_port", forms.port, plain.etcd_client_port),
        etcd_peer_port=section.read("etcd_peer_port", forms.port, plain.etcd_peer_port),
    )
    return spec if host else None


def distinct(report: Report, nodes: Nodes, members: tuple[str, ...], local: LocalSpec | None) -> None:
    """On one host no two nodes share a port or a directory. members: the nodes whose etcd ports count."""
    taken: dict[tuple[str, int], tuple[Spot, str, str]] = {}
    for spot, node in nodes.found:
        uses = [("port", node.port)]
        if node.name in members:
            uses += [("etcd_client_port", node.etcd_client_port), ("etcd_peer_port", node.etcd_peer_port)]
        for key, number in uses:
            first = taken.setdefault((node.host, number), (spot, node.name, key))
            if first == (spot, node.name, key):
                continue
            because = f"{first[1]} in line {first[0].line} ({first[2]}) and {node.name} in line {spot.line} ({key})"
            what = f"nodes.{node.name}: {key} {number} on {node.host} is taken"
            report.add(spot, what, because, f"delete one, or give {node.name} another {key}")
            if key == "port" and first[2] == "port":
                break  # the same node twice: its etcd ports need no finding of their own
    _directories(report, nodes, local)


def _directories(report: Report, nodes: Nodes, local: LocalSpec | None) -> None:
    """One inside another is as bad as the same one; without `local`, neighbours on a host must say where they live."""
    for index, (spot, node) in enumerate(nodes.found):
        for first_spot, other in nodes.found[:index]:
            if node.host != other.host or node.port == other.port:
                continue
            because = f"{other.name} in line {first_spot.line} and {node.name} in line {spot.line} are on {node.host}"
            step = f"give {node.name} a data_dir of its own"
            if node.data_dir is None and other.data_dir is None:
                if local is None:
                    report.add(spot, "two nodes on one host without a data_dir", because, step)
            elif node.data_dir and other.data_dir and _nested(node.data_dir, other.data_dir):
                what = f"data_dir {node.data_dir} and {other.data_dir} are the same or one is inside the other"
                report.add(spot, what, because, step)


def _nested(a: str, b: str) -> bool:
    return f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/")


def loopback(report: Report, nodes: Nodes, local: LocalSpec | None, spot: Spot) -> None:
    """Loopback addresses belong to `local`, and `local` to loopback addresses."""
    for place, node in nodes.found:
        here = forms.is_loopback(node.host)
        if local is None and here:
            because = "a loopback address reaches another machine from each host"
            step = "write the address that the other hosts see, or add local: {dir: /srv/pgha-demo, user: postgres}"
            report.add(place, f"nodes.{node.name}: {node.host} is this machine", because, step)
        elif local is not None and not here:
            because = f"local in line {spot.line} makes all nodes processes on this machine"
            report.add(
                place,
                f"nodes.{node.name}: {node.host} is not this machine",
                because,
                "write host: 127.0.0.1, or delete local",
            )
        elif local is not None and node.data_dir and not node.data_dir.startswith(f"{local.dir}/"):
            because = f"with local everything is under {local.dir}"
            report.add(place, f"nodes.{node.name}: data_dir {node.data_dir} is outside", because, "delete data_dir")
    longest = max((len(name) for name in nodes.names), default=0)
    if local is not None and len(local.dir) + 1 + longest > SOCKET_ROOM:
        length = len(local.dir) + 1 + longest
        because = f"with the longest node name {length} characters, at most {SOCKET_ROOM}: a socket's path has 107"
        report.add(spot, "local.dir is too long", because, "use a shorter directory")
