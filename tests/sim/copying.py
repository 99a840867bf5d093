"""Clones and rewinds of a simulated node: in a task of its agent, which may die within them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgha.core.server import DataIdentity
from tests.sim.postgres import SimPg, State
from tests.sim.wal import Data, common

if TYPE_CHECKING:
    from tests.sim.server import SimServer

STOP_S = 30.0


def _source(server: SimServer, holder: str) -> SimPg:
    there = server.node.cluster.nodes[holder].pg
    links = server.node.cluster.links
    reachable = links.up(server.node.name, holder) and links.up(holder, server.node.name)
    serves = there.state in (State.STANDBY, State.PRIMARY) and not there.stopping and not there.hung
    if not reachable or not serves or there.data is None or there.node.held:
        raise OSError(f"{holder} can't be reached")
    return there


def clone(server: SimServer, holder: str) -> None:
    """pg_basebackup into a fresh directory, put in place when it is whole. Raises OSError.

    The id lies outside: what lies inside comes along (PG07).
    """
    _stop(server)
    _source(server, holder)
    server.wait(0.3, 1.5, tail=0.1, upto=6.0)
    there = _source(server, holder)
    assert there.data is not None
    fresh = Data(server.node.new_inode(), there.data.branch, there.data.lsn)
    fresh.learn(fresh.branch)
    server.wait(0.01, 0.05)
    server.on_clone(DataIdentity(1, fresh.inode, "system"))
    if not server.pg.tree:
        server.pg.data = fresh
        server.node.trace("cloned", holder)


def rewind(server: SimServer, holder: str) -> None:
    """pg_rewind; what is cut short leaves a torn directory. Raises OSError."""
    _stop(server)
    mine = server.pg.data
    if mine is None or server.pg.tree:
        raise OSError("nothing to rewind")
    mine.torn = True
    _source(server, holder)
    server.wait(0.2, 0.8, tail=0.1, upto=3.0)
    there = _source(server, holder)
    if there.data is None or server.pg.data is not mine or server.pg.tree:
        raise OSError("nothing to rewind")
    mine.torn = False
    if there.state is State.PRIMARY and not there.data.branch.checkpointed:
        return  # PG08: "no rewind required"
    mine.needs = (there.data.branch, there.data.lsn)  # PG17
    mine.branch, mine.lsn = common(mine.branch, mine.lsn, there.data.branch, there.data.lsn)
    mine.histories, mine.clean = dict(there.data.histories), None
    server.node.trace("rewound", holder)


def _stop(server: SimServer) -> None:
    until = server.world.now + STOP_S
    if server.link.state().postmaster:
        server.link.signal("SIGINT")
    while server.link.state().postmaster and server.world.now < until:
        server.wait(0.02, 0.02)
    if not server.link.kill_tree(deadline_s=server.node.clock.now_s() + 5.0):
        raise OSError("the server could not be stopped")
