"""A drill on hosts over SSH: `drill_ground.Ground` by `pgha.ops.drill_main`, which runs on the node as root.

The order lies in a file of root's below /run; the dead man's timer on the node reads it, whatever becomes of us.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from pgha.errors import PghaError, Refused, Unreachable
from pgha.host import Host, Remote
from pgha.ops.drill_local import run_sql
from pgha.ops.host_nodes import PYTHON, USER, HostNode
from pgha.ports import Clock

DO_S = 40.0
BACK_S = 90.0  # until a host that was reset lets us in again
AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Way:
    """How hosts are reached. ssh_port: left open by a cut. store_ports: of the store's members. supervisor: theirs."""

    connect: Callable[[str], Remote]
    ssh_port: int
    store_ports: tuple[int, ...]
    supervisor: str


class HostGround:
    """One connection a node, made when it is needed, and anew when it was lost."""

    def __init__(self, nodes: Sequence[HostNode], way: Way, clock: Clock) -> None:
        self.nodes: Mapping[str, HostNode] = {node.name: node for node in nodes}
        self._way, self._clock = way, clock
        self._remotes: dict[str, Remote] = {}

    def ready(self, fault: str) -> None:
        """On every node: any may be the primary of the next round."""
        for name in self.nodes:
            self._do("ready", name, fault, 60.0)
            self._as(name, "root").run(["rm", "-f", "--", _file(self.nodes[name])], timeout_s=DO_S)

    def sql(self, node: str, dbname: str, statements: Sequence[str]) -> None:
        """Through the node's socket, as user postgres."""
        if node not in self.nodes:
            raise PghaError("the drill's role can't be changed", f"{node!r} is not in the inventory")
        there = self.nodes[node]
        place = {"host": there.socket_dir, "port": there.port}
        run_sql(self._as(node, USER), [PYTHON, "-I"], place, dbname, statements)

    def inflict(self, fault: str, node: str, hold_s: float, begun: Callable[[], None]) -> None:
        """The connection and the order are there before `begun`."""
        self._put(node, fault, hold_s)
        begun()
        self._run("inflict", node)
        if fault == "power":
            self._forget(node)

    def take_back(self, node: str) -> None:
        """Tried until the host lets us in: it may have been reset."""
        end = self._clock.now_s() + BACK_S
        while True:
            try:
                self._run("back", node)
                return
            except Unreachable:
                self._forget(node)
                if self._clock.now_s() > end:
                    raise
                self._clock.sleep(AGAIN_S)

    def leads_store(self, node: str, endpoints: Sequence[str]) -> bool:
        """By address; through a tunnel nobody knows."""
        there = self.nodes[node]
        return there.has_etcd and any(e.endswith(f"{there.host}:{there.etcd_client_port}") for e in endpoints)

    def close(self) -> None:
        """All of them."""
        for name in list(self._remotes):
            self._forget(name)

    # -- on a node -------------------------------------------------------------------------------------------

    def _as(self, name: str, user: str) -> Host:
        if name not in self._remotes:
            self._remotes[name] = self._way.connect(self.nodes[name].host)
        return self._remotes[name].as_user(user)

    def _forget(self, name: str) -> None:
        remote = self._remotes.pop(name, None)
        if remote is not None:
            remote.close()

    def _put(self, name: str, fault: str, hold_s: float) -> None:
        way, node = self._way, self.nodes[name]
        body = {"fault": fault, "hold_s": hold_s, "host": asdict(node), "supervisor": way.supervisor}
        body |= {"ports": list(way.store_ports), "ssh_port": way.ssh_port}
        self._as(name, "root").write(_file(node), json.dumps(body))

    def _do(self, verb: str, name: str, fault: str, hold_s: float) -> None:
        self._put(name, fault, hold_s)
        self._run(verb, name)

    def _run(self, verb: str, name: str) -> None:
        node = self.nodes[name]
        argv = [PYTHON, "-I", "-m", "pgha.ops.drill_main", verb, _file(node)]
        ran = self._as(name, "root").run(argv, timeout_s=DO_S)
        if ran.ok:
            return
        if "No module named" in ran.err:
            raise Refused(f"the pgha of {name} is older than this one", ran.tail(), "pgha bootstrap")
        said = str(json.loads(ran.out).get("problem", "")) if ran.out.startswith("{") else ran.tail()
        what, because, step = [*said.split("\n"), "", ""][:3]
        raise Refused(what, because, step)


def _file(node: HostNode) -> str:
    return f"/run/pgha-drill-{node.cluster}.json"
