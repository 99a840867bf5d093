"""The store's figures: latency and CPU of a call, and how long renewals fail when etcd's leader goes away.

`python -m bench.store [rounds]` starts three etcd members on this machine and prints a table.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

from pgha.adapters.etcd import EtcdStore
from pgha.adapters.local import SystemClock
from pgha.nodefile import StoreAccess
from pgha.ports import Committed, Guard, StoreDown, Write
from tests.support.etcd_cluster import EtcdCluster, Member, etcd_cluster

CLOCK = SystemClock()
K_S = 0.75  # between renewals, and budget of one, at the default failover_after of 6 s
VALUE = b"x" * 400  # about the size of a leader key
KEY = "/pgha/bench/leader"


def cpu_s() -> float:
    """CPU time of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def calls(name: str, call: Callable[[], object], count: int, pause_s: float) -> None:
    """Print p50, p99 and CPU of `count` calls with pauses between them, less what the pauses cost."""
    idle = cpu_s()
    if pause_s:
        for _ in range(20):
            CLOCK.sleep(pause_s)
    idle = (cpu_s() - idle) / 20
    took = []
    before = cpu_s()
    for _ in range(count):
        began = CLOCK.now_s()
        call()
        took.append(1000 * (CLOCK.now_s() - began))
        CLOCK.sleep(pause_s)
    cpu_ms = 1000 * ((cpu_s() - before) / count - idle)
    cuts = statistics.quantiles(took, n=100)
    print(f"{name:<32} p50 {cuts[49]:6.2f} ms   p99 {cuts[98]:6.2f} ms   CPU {cpu_ms:5.2f} ms a call")


@dataclass(slots=True)
class Holder:
    """Renews a key every K as the holder of the lease does."""

    store: EtcdStore
    revision: int
    longest_call_s: float = 0.0

    def renew(self) -> bool:
        """One CAS within K; if its outcome is not known, a read that finds out. Whether it is known to be done."""
        value = VALUE + str(CLOCK.now_s()).encode()
        began = CLOCK.now_s()
        outcome = self.store.commit([Guard(KEY, self.revision)], [Write(KEY, value)], deadline_s=began + K_S)
        self.longest_call_s = max(self.longest_call_s, CLOCK.now_s() - began)
        if isinstance(outcome, Committed):
            self.revision = outcome.revision
            return True
        try:
            entry = self.store.read(KEY, deadline_s=CLOCK.now_s() + K_S).entries[KEY]
        except StoreDown:
            return False
        self.revision = entry.revision
        return entry.value == value

    def longest_age_s(self, seconds: float) -> float:
        """The greatest age a lease reached: from the sending of a good renewal to the end of the next good one."""
        last, end, longest = CLOCK.now_s(), CLOCK.now_s() + seconds, 0.0
        while CLOCK.now_s() < end:
            sent = CLOCK.now_s()
            if self.renew():
                longest, last = max(longest, CLOCK.now_s() - last), sent
                CLOCK.sleep(max(0.0, sent + K_S - CLOCK.now_s()))
        return max(longest, CLOCK.now_s() - last)


def gap(cluster: EtcdCluster, name: str, harm: Callable[[Member], None], rounds: int) -> None:
    """Print the longest age of a lease whose holder asks etcd's leader, which is harmed after a while."""
    ages, longest_call = [], 0.0
    for _ in range(rounds):
        leader = cluster.leader()
        others = tuple(m.endpoint for m in cluster.members if m is not leader)
        store = EtcdStore(StoreAccess(endpoints=(leader.endpoint, *others)), CLOCK)
        seen = store.read(KEY, deadline_s=CLOCK.now_s() + 5)
        holder = Holder(store, seen.entries[KEY].revision)
        holder.longest_age_s(2)
        harm(leader)
        ages.append(holder.longest_age_s(6))
        longest_call = max(longest_call, holder.longest_call_s)
        store.close()
        cluster.mend()
    shown = ", ".join(f"{age:.2f}" for age in sorted(ages))
    print(f"{name:<32} longest age of a lease {shown} s; longest call {longest_call:.2f} s")


def main() -> None:
    """The table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with etcd_cluster(3) as cluster:
        store = EtcdStore(cluster.access, CLOCK)
        version = store.health(deadline_s=CLOCK.now_s() + 5).members[0].version
        print(f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, etcd {version}, 3 members, no fsync")
        seen = store.read(KEY, deadline_s=CLOCK.now_s() + 5)
        created = store.commit([Guard(KEY, 0)], [Write(KEY, VALUE)], deadline_s=CLOCK.now_s() + 5)
        holder = Holder(store, created.revision if isinstance(created, Committed) else seen.entries[KEY].revision)

        def read() -> None:
            store.read("/pgha/bench/", deadline_s=CLOCK.now_s() + 5)

        calls("read, back to back", read, 500, 0)
        calls("commit, back to back", holder.renew, 500, 0)
        calls("read, 10 a second", read, 100, 0.1)
        calls("commit, 10 a second", holder.renew, 100, 0.1)
        before = cpu_s()
        store.wait("/pgha/bench/", holder.revision, deadline_s=CLOCK.now_s() + 10)
        print(f"{'an idle watch':<32} CPU {100 * (cpu_s() - before) / 10:.2f} % of a core")
        store.close()
        gap(cluster, "leader killed", cluster.kill, rounds)
        gap(cluster, "leader stopped (SIGSTOP)", cluster.stop, rounds)


if __name__ == "__main__":
    main()
