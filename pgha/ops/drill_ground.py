"""What a drill can do to a node, and the seam to where the nodes are: processes of this machine, or hosts over SSH.

Values and a port only; `ops.drill_local` and `ops.drill_hosts` are the two grounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

HOLD_SPARE_S = 30.0  # the dead man's timer beyond what the drill itself waits for


@dataclass(frozen=True, slots=True)
class Fault:
    """moves: another epoch is expected. held: it lasts until it is taken back. hosts_only: not on one machine.

    asked: what is asked for separately, because nobody can take it back over SSH; "" for nothing.
    """

    name: str
    about: str
    moves: bool = True
    held: bool = False
    hosts_only: bool = False
    asked: str = ""


_RESET = "the host is reset without sync or shutdown; should it not boot by itself, somebody must switch it on"

FAULTS = {
    fault.name: fault
    for fault in (
        Fault("switchover", "a planned move of the primary"),
        Fault("kill-postgres", "SIGKILL to every process of the server"),
        Fault(
            "kill-node",
            "SIGKILL to guard, agent, server and etcd member at one moment, held down for a while",
            held=True,
        ),
        Fault("kill-agent", "SIGKILL to the agent", moves=False),
        Fault("stop-agent", "SIGSTOP to the agent: it stands still", held=True),
        Fault("cut-store", "the node reaches no member of the store", held=True, hosts_only=True),
        Fault("cut-node", "the node reaches nobody and is reached by nobody, but for SSH", held=True, hosts_only=True),
        Fault("power", "a hard reset of the host", hosts_only=True, asked=_RESET),
    )
}


def default_budget_s(fault: str, failover_after_s: float) -> float:
    """What the outage may be when nothing was said: a planned move, a crash, or H and what follows it."""
    return {"switchover": 1.0, "kill-postgres": 1.5, "kill-agent": 1.0}.get(fault, failover_after_s + 1.0)


class Ground(Protocol):
    """Where the nodes are. Every method raises PghaError; `take_back` may be called when nothing was done."""

    def ready(self, fault: str) -> None:
        """Refused when this fault can't be made there, or could not be taken back. Changes nothing."""
        ...

    def sql(self, node: str, dbname: str, statements: Sequence[str]) -> None:
        """As superuser through the node's socket."""
        ...

    def inflict(self, fault: str, node: str, hold_s: float, begun: Callable[[], None]) -> None:
        """First the dead man's timer on the node (`hold_s` from now), then `begun()`, then the fault."""
        ...

    def take_back(self, node: str) -> None:
        """The fault is gone, the timer too; the node's processes are started again, not waited for."""
        ...

    def leads_store(self, node: str, endpoints: Sequence[str]) -> bool:
        """One of these endpoints is the node's own member."""
        ...

    def close(self) -> None:
        """End the connections."""
        ...
