"""The inventory: YAML text in, one cluster out, or every problem of the file in one pass with line and column.

May import `pgha.errors` and `pgha.inventory_*`. Never opens a file: the caller reads it and names it.
"""

from __future__ import annotations

from pgha import inventory_etcd, inventory_follow, inventory_ha, inventory_nodes, inventory_postgres
from pgha import inventory_forms as forms
from pgha.errors import Findings
from pgha.inventory_model import EtcdSpec, HaSpec, Inventory, LocalSpec, NodeSpec, PostgresSpec, Secret, SshSpec
from pgha.inventory_section import Section
from pgha.inventory_yaml import Items, Report, Scalar, Spot, Table, compose, decode

__all__ = [
    "EtcdSpec",
    "HaSpec",
    "Inventory",
    "LocalSpec",
    "NodeSpec",
    "PostgresSpec",
    "Secret",
    "SshSpec",
    "decode",
    "parse",
]

THREE_LINES = "three lines are enough: cluster, postgres and nodes; see inventory.example.yaml"


def parse(text: str, where: str) -> Inventory:
    """The inventory in `text`; `where` is its name in messages.

    Raises Findings of UsageError, all of them, each with file:line:column.
    """
    report = Report(where)
    tree = compose(text, report)
    if tree is None or (isinstance(tree, Scalar) and tree.kind == "null"):
        if not report.found:
            report.add(Spot(), "the file is empty", "nothing but comments and blanks", THREE_LINES)
        raise Findings(report.problems())
    if isinstance(tree, Scalar | Items):
        if not report.found:
            report.add(
                tree.spot,
                "an inventory is a map of keys",
                f"found {'a list' if isinstance(tree, Items) else 'a single value'}",
                THREE_LINES,
            )
        raise Findings(report.problems())
    inventory = _cluster(report, tree)
    if report.found:
        raise Findings(report.problems())
    return inventory


def _cluster(report: Report, tree: Table) -> Inventory:
    top = Section(report, tree, path="")
    top.require("cluster")
    top.require("nodes")
    postgres = inventory_postgres.read(report, top.tree("postgres"))
    nodes = inventory_nodes.read(report, top.tree("nodes"), postgres)
    etcd = inventory_etcd.read(report, top.tree("etcd"), nodes, top.at("nodes"))
    local = _local(top)
    inventory_follow.check(report, nodes)
    inventory_nodes.distinct(report, nodes, etcd.nodes, local)
    if local is not None or not top.has("local"):
        inventory_nodes.loopback(report, nodes, local, top.at("local"))
    return Inventory(
        cluster=top.read("cluster", forms.cluster_name, ""),
        postgres=postgres,
        nodes=nodes.specs(),
        etcd=etcd,
        ssh=_ssh(top.section("ssh")),
        ha=inventory_ha.read(top.section("ha"), nodes.declared, HaSpec()),
        supervisor=top.read("supervisor", forms.choice("cron", "systemd"), "cron"),
        local=local,
    )


def _ssh(section: Section) -> SshSpec:
    plain = SshSpec()
    return SshSpec(
        user=section.read("user", forms.user, plain.user),
        key=section.read("key", forms.local_file, plain.key),
        sudo=section.read("sudo", forms.flag, plain.sudo),
        port=section.read("port", forms.port, plain.port),
    )


def _local(top: Section) -> LocalSpec | None:
    if not top.has("local"):
        return None
    section = top.section("local")
    section.require("dir")
    section.require("user")
    directory, user = section.read("dir", forms.directory, None), section.read("user", forms.local_user, None)
    return LocalSpec(directory, user) if directory and user else None
