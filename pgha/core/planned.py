"""An order for later (`schedule/<ident>`): the value. May import nothing of pgha."""

from __future__ import annotations

from dataclasses import dataclass

OPEN = ("waiting", "begun")
HAND = "hand"  # a restart of several nodes that a command carries out: how far it has come


@dataclass(frozen=True, slots=True)
class Planned:
    """What the primary's agent is to order by itself, at a time.

    kind: "switchover" or "restart". at: wall clock, seconds of UTC; it decides when to ask, and nothing else.
    source: of a switchover, the primary of then: another one is not moved. target: "" for the best voter of that time.
    nodes: of a restart, those that are left. pending: only such of them as wait for a restart by then. rolling: the
    primary is moved instead of restarted in place.
    phase: waiting, begun, done, dropped, hand; answer: what was done, or why not.
    step: the node whose turn it is, "" between two; order: the ident of its order, lying since `since` (wall clock), of
    a primary under `epoch`, to be led by `heir` after it. done: the nodes that had their turn.
    """

    kind: str
    ident: str
    at: float
    source: str = ""
    target: str = ""
    nodes: tuple[str, ...] = ()
    pending: bool = False
    rolling: bool = False
    asked_by: str = ""
    asked_at: float = 0.0
    phase: str = "waiting"
    answer: str = ""
    step: str = ""
    order: str = ""
    since: float = 0.0
    epoch: int = 0
    heir: str = ""
    done: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """`switchover n1 to n2`, `restart n2, n3`."""
        if self.kind == "switchover":
            return f"switchover {self.source}" + (f" to {self.target}" if self.target else "")
        names = ", ".join((*self.done, *self.nodes))
        return f"restart {names}" + (" --pending" if self.pending else "") + (" --rolling" if self.rolling else "")
