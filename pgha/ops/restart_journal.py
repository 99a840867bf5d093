"""How far a restart of several nodes has come, kept in the store: whoever types the same command again goes on there.

The record has the form of an order for later (`schedule/<ident>`), phase `hand`: no agent acts on it, `list` shows it,
`cancel` forgets it. May import core, records and its neighbours in ops.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pgha import records
from pgha.core.model import Tenure
from pgha.core.planned import HAND, Planned
from pgha.errors import Busy
from pgha.ops.node_orders import READ_S, Desk
from pgha.ops.rows import Seen
from pgha.ports import Committed, Conflict, Guard, Write
from pgha.records_schedule import dump_planned

FRESH_S = 86400.0  # what was left longer ago is begun anew


def left_behind(seen: Seen, names: Iterable[str], *, pending: bool, rolling: bool) -> Planned | None:
    """The record of this very restart that somebody began and did not finish, what came to its end since included."""
    wanted = set(names)
    for plan in seen.records.planned.values():
        known = {*plan.nodes, *plan.done}
        same = wanted <= known if pending else wanted == known  # who was restarted waits no more
        same = same and (plan.pending, plan.rolling) == (pending, rolling)
        if plan.phase == HAND and same and seen.at - plan.since < FRESH_S:
            return _turned(plan, plan.step) if plan.step and _is_over(seen, plan) else plan
    return None


def _is_over(seen: Seen, plan: Planned) -> bool:
    """The order of the node whose turn it was has been carried out without its command."""
    leader, order = seen.records.leader, seen.records.requests.get(plan.step)
    if plan.epoch:
        return leader is not None and leader.epoch > plan.epoch and leader.tenure is Tenure.HELD
    return order is not None and order.ident == plan.order and order.phase == "done"


def _turned(plan: Planned, name: str) -> Planned:
    left = tuple(n for n in plan.nodes if n != name)
    return replace(plan, nodes=left, done=(*plan.done, name), step="", order="", epoch=0)


@dataclass(slots=True)
class Journal:
    """The record, as this command has written it last; without one (a single node, or no answer) nothing is kept."""

    desk: Desk
    plan: Planned | None = None
    revision: int = 0

    def begin(self, seen: Seen, plan: Planned) -> None:
        """Write it anew, or take over what was left behind (it has an ident). Raises Busy."""
        own = plan.ident or secrets.token_hex(3)
        self.plan, self.revision = replace(plan, ident=own), seen.records.rev(f"schedule/{own}")
        self._write()

    def turn(self, name: str, order: str, *, epoch: int = 0) -> None:
        """This node's order lies there. epoch: of an order to the primary."""
        if self.plan is not None:
            self.plan = replace(self.plan, step=name, order=order, epoch=epoch)
            self._write()

    def over(self, name: str) -> None:
        """It is back."""
        if self.plan is not None:
            self.plan = _turned(self.plan, name)
            self._write()

    def end(self) -> None:
        """Nothing is left."""
        if self.plan is not None:
            self._commit(None)
            self.plan = None

    def _write(self) -> None:
        assert self.plan is not None
        self.plan = replace(self.plan, since=self.desk.seen().at, asked_by=self.desk.asked_by)
        self._commit(dump_planned(self.plan))

    def _commit(self, value: bytes | None) -> None:
        """By CAS. A store that does not answer stops no restart; who has moved the record does."""
        assert self.plan is not None
        key = f"{records.prefix(self.desk.target.cluster)}schedule/{self.plan.ident}"
        deadline_s = self.desk.clock.now_s() + READ_S
        done = self.desk.store.commit([Guard(key, self.revision)], [Write(key, value)], deadline_s=deadline_s)
        if isinstance(done, Committed):
            self.revision = done.revision
        elif isinstance(done, Conflict):
            why = "cancelled, or the same command runs elsewhere"
            raise Busy("somebody else has this restart in hand", why, self.desk.target.command("list"))
        else:
            self.plan = None
