"""What a node's watchdog reads at its start, from the inventory and from what preflight has found. Pure.

May import nodefile and its neighbours.
"""

from __future__ import annotations

from pgha import nodefile
from pgha.ops import newdata
from pgha.ops.bootstrap_run import Run
from pgha.ops.fleet import Place
from pgha.ops.target import node_store_access


def node_file_of(run: Run, node: Place) -> nodefile.NodeFile:
    """Of one node."""
    spec = next(one for one in run.inventory.nodes if one.name == node.name)
    return nodefile.NodeFile(
        cluster=run.inventory.cluster,
        node=node.name,
        state_dir=node.state_dir,
        data_dir=node.data_dir,
        socket_dir=node.socket_dir,
        bin_dir=run.ready.bin_dir,
        store=node_store_access(run.inventory),
        nodes={n.name: nodefile.Peer(n.host, n.port) for n in run.ready.nodes},
        replication_user=newdata.REPLICATION_USER,
        priority=spec.priority,
        nofailover=spec.nofailover,
        nosync=spec.nosync,
        clonefrom=spec.clonefrom,
        noloadbalance=spec.noloadbalance,
        follow=spec.follow,
        parameters=dict(run.inventory.postgres.parameters),
        hba=tuple(run.inventory.postgres.hba),
        tls=run.fleet.server_tls(node),
    )
