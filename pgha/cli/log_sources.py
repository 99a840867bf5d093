"""Where `logs` and `history` read: this machine's nodes by a process here, hosts over SSH, a node its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgha import nodefile
from pgha.cli import sources
from pgha.cli.options import Choice
from pgha.errors import UsageError
from pgha.ops import host_nodes, local_nodes, logs

FOLLOW_S = 7 * 86400.0
READ_S = 60.0


def of(
    choice: Choice, names: Sequence[str], *, follow: bool, since: float, etcd: bool = True
) -> tuple[list[str], logs.Reader]:
    """The nodes that were asked for, and how each one's lines are read. Raises UsageError for an unknown one.

    etcd: its log as well.
    """
    path, _ = sources.find(choice)
    if path.endswith(".json") or choice.node:
        own = nodefile.parse(sources.text_of(path))
        unit = f"pgha-etcd-{own.cluster}.service" if etcd and own.state_dir.startswith(host_nodes.LIB + "/") else ""
        return _chosen([own.node], names), _here(
            {own.node: logs.Place(own.state_dir, unit)}, follow=follow, since=since
        )
    wanted = sources.inventory_at(path)
    chosen = _chosen([n.name for n in wanted.nodes], names)
    if wanted.local is not None:
        found = {n.name: n for n in local_nodes.load(wanted)}
        places = {
            n.name: logs.Place(n.state_dir, "", f"{n.log_dir}/etcd.log" if etcd and n.has_etcd else "")
            for n in found.values()
        }
        return chosen, _here(places, follow=follow, since=since)
    nodes = {s.name: host_nodes.node_of(wanted, s) for s in wanted.nodes}
    connect = sources.connector(wanted)

    def read(name: str) -> Iterator[str]:
        one = nodes[name]
        place = logs.Place(one.state_dir, one.etcd_unit if etcd and one.has_etcd else "")
        argv = logs.argv(place, follow=follow, since=since)
        within_s, silent_s = (FOLLOW_S, logs.SILENT_S) if follow else (READ_S, READ_S)
        connection = connect(one.host)
        try:
            yield from connection.lines("root", argv, within_s=within_s, silent_s=silent_s)
        finally:
            connection.close()

    return chosen, read


def _chosen(there: Sequence[str], names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in there:
            raise UsageError(f"there is no node {name}", f"its nodes: {', '.join(there)}", "pgha logs --help")
    return [name for name in there if not names or name in names]


def _here(places: dict[str, logs.Place], *, follow: bool, since: float) -> logs.Reader:
    def read(name: str) -> Iterator[str]:
        from pgha.adapters.local import lines_of

        return lines_of(logs.argv(places[name], follow=follow, since=since), keep_open=follow)

    return read
