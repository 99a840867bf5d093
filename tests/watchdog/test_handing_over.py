"""An ordered switchover is not begun beside a walsender that stands still."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from pgha import records
from pgha.adapters.memory import MemoryStore
from pgha.core.following import UNHEARD_S
from pgha.core.model import Order
from pgha.core.timing import timing_for
from pgha.ports import Write
from pgha.watchdog import orders
from pgha.watchdog.agent import Agent
from tests.core.builders import EPOCH, N3, NOW, but, order, primary
from tests.ops.stand_in import Clock

KEY = "/pgha/shop/request"
AT_S = NOW + 1.0  # when the switch of WAL was seen to be done


class Holder:
    """n1 prepares its switchover to n2; the new segment is there."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock, threaded=False)
        self.order = order(phase="accepted")
        self.store.commit([], [Write(KEY, records.dump_order(self.order))], deadline_s=self.clock.now + 1)
        self.notes = SimpleNamespace(preparing=(self.order.ident, 0), switched=(self.order.ident, AT_S, 0), prepared="")

    def looks(self, after_s: float, silent_s: float) -> Order:
        """So long after the switch n3 has shown the same reply for so long; gives the order as it lies there then."""
        entry = self.store.read(KEY, deadline_s=self.clock.now + 1).entries[KEY]
        names = {N3.standby_name(EPOCH): silent_s}
        seen = but(primary(store__order=self.order, store__order_revision=entry.revision), silent_s=names)
        obs = but(seen, now_s=AT_S + after_s, server__checkpoints=1)
        ports = SimpleNamespace(store=self.store, clock=self.clock, server=None)
        agent = SimpleNamespace(
            node=SimpleNamespace(node="n1"), root="/pgha/shop/", timing=timing_for(6.0), ports=ports, notes=self.notes,
            view=obs.store, note=lambda _event, **_facts: None,
        )  # fmt: skip
        orders.prepare(cast("Agent", agent), obs)
        entry = self.store.read(KEY, deadline_s=self.clock.now + 1).entries[KEY]
        left = records.parse_value(KEY, entry.value, records.parse_order)
        assert isinstance(left, Order)
        return left


def test_once_all_have_replied_it_is_prepared() -> None:
    holder = Holder()
    assert holder.looks(0.6, silent_s=0.1).phase == "accepted"
    assert holder.notes.prepared == holder.order.ident


def test_without_a_reply_it_waits_while_clients_write_and_then_says_whose_process_to_look_at() -> None:
    holder = Holder()
    assert holder.looks(UNHEARD_S, silent_s=UNHEARD_S + 1.0).phase == "accepted"
    assert holder.notes.prepared == ""
    refused = holder.looks(UNHEARD_S + 0.1, silent_s=UNHEARD_S + 1.1)
    assert refused.phase == "refused" and "walsender of n3" in refused.answer and "on n1" in refused.answer
    assert holder.notes.prepared == ""
