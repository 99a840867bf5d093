"""A process in the operator's network that looks at a cluster: `python -m tests.hosts.look INVENTORY`.

For each line on stdin one look, as `pgha list` takes it, in one line of JSON on stdout. It ends when stdin is closed.
"""

from __future__ import annotations

import json
import sys
import time

from pgha.cli import sources
from pgha.cli.options import Choice
from pgha.ops import status
from pgha.ops.status import Seen
from pgha.ops.target import Target

STORE_S = 2.0


def is_settled(seen: Seen) -> bool:
    """One rule counts, its voters are the copies that the other nodes have now, and no order is at work."""
    leader = seen.records.leader
    if leader is None or len(leader.sync) != 1 or seen.records.order is not None:
        return False
    return leader.sync[0].voters == {m.copy for m in seen.records.members.values() if m.copy != leader.holder}


def body(target: Target, seen: Seen) -> dict[str, object]:
    """What the tests want to know."""
    found = status.judge(target, seen)
    leader, members = seen.records.leader, seen.records.members
    led = {m.endpoint.rpartition("//")[2].rpartition(":")[0] for m in seen.health.members if m.leader}
    return {
        "exit": int(found.exit),
        "told": "; ".join((found.sentence(), *found.notes)),
        "leader": leader.holder.node if leader else "",
        "epoch": leader.epoch if leader else 0,
        "store_leader": next((ref.name for ref in target.nodes if ref.host in led), ""),
        "unwell": leader is not None and leader.unwell,
        "settled": is_settled(seen),
        "reported": {name: member.written_at for name, member in members.items()},
        "now": time.time(),
    }


def main() -> None:
    """Look whenever asked."""
    target = sources.target_of(Choice(inventory=sys.argv[1]))
    clock = sources.clock()
    store = sources.open_store(target.store)
    for _ in sys.stdin:
        print(json.dumps(body(target, status.gather(store, clock, target.cluster, timeout_s=STORE_S))), flush=True)


if __name__ == "__main__":
    main()
