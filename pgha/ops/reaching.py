"""The way to the PostgreSQL of every node of an inventory, be it a host or processes of this machine; held meanwhile.

May import errors, nodefile and its neighbours in ops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pgha import nodefile
from pgha.errors import Refused
from pgha.host import Host, Remote
from pgha.ops import host_nodes, local_nodes
from pgha.ops.host_fleet import Distant
from pgha.ops.host_programs import HostReach
from pgha.ops.programs import LocalReach, Reach
from pgha.ops.together import each

if TYPE_CHECKING:
    from pgha.inventory import Inventory


@contextmanager
def held(inventory: Inventory, here: Host, distant: Distant | None) -> Iterator[Mapping[str, Reach]]:
    """One pgha at a time works on them. distant: None for nodes of this machine.

    Raises Unreachable, Busy, Refused, several as Findings.
    """
    with ExitStack() as stack:
        if distant is None:
            nodes = local_nodes.load(inventory)
            stack.enter_context(here.hold(nodes[0].root))
            yield {node.name: LocalReach(here, _bin_dir(here, node)) for node in nodes}
            return
        places = {spec.name: host_nodes.node_of(inventory, spec) for spec in inventory.nodes}

        def connect(_name: str, place: host_nodes.HostNode) -> Remote:
            remote = distant.connect(place.host)
            stack.callback(remote.close)
            return remote

        remotes = each(places, connect)
        for name in sorted(remotes):
            stack.enter_context(remotes[name].as_user("root").hold(host_nodes.LIB))
        yield {name: HostReach(places[name], remote) for name, remote in remotes.items()}


def _bin_dir(here: Host, node: local_nodes.LocalNode) -> str:
    text = here.read(node.node_file_path)
    if text is None:
        raise Refused(f"{node.name} is not set up", f"no {node.node_file_path}", "pgha bootstrap")
    return nodefile.parse(text).bin_dir
