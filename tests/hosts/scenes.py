"""A scenario on real hosts from its begin to its verdict: healthy, fault, writes are back, the cause goes, whole.

Each one's outcome is a line for the file of runs (tests.hosts.proof). The judge is the client outside.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from tests.hosts.cluster import HostCluster
from tests.loopback.writing import Word, Writing

SUPERVISOR = os.environ.get("PGHA_TEST_SUPERVISOR", "cron")
H_S = 6.0
OUTAGE_S = H_S + 1.0
WHOLE_S = {"cron": 90.0, "systemd": 60.0}[SUPERVISOR]
HOLD_S = 3.0  # the cause stays this long after writes are back


@dataclass(slots=True)
class Outcome:
    """What is known of the scenario that runs now. known: the fields of its line (tests.hosts.proof.Run)."""

    known: dict[str, object] = field(default_factory=dict)


NOW = Outcome()


def hold(seconds: float = HOLD_S) -> None:
    """The cause stays."""
    time.sleep(seconds)


def judged(client: Writing, outage_s: float) -> Word:
    """The client's verdict; it is part of the scenario's line. outage_s: the limit."""
    word = client.verdict()
    NOW.known |= {
        "outage_s": round(word.outage_s, 3),
        "limit_s": outage_s,
        "lost": word.lost,
        "two_writers": word.two_writers,
        "duplicates": word.duplicates,
        "acked": word.acked,
        "epochs": len(word.epochs),
    }
    return word


def ended(cluster: HostCluster, client: Writing, what: str, *, outage_s: float = OUTAGE_S) -> Word:
    """The cause is gone now: whole again in time, and the client's verdict is clean."""
    try:
        whole_s = cluster.await_whole(within_s=WHOLE_S + 30.0)
        client.await_rows()
    finally:
        word = judged(client, outage_s)
    NOW.known["whole_s"] = round(whole_s, 1)
    print(
        f"{what}: outage {word.outage_s:.2f} s, lost {word.lost}, two writers {word.two_writers}, "
        f"whole again after {whole_s:.1f} s, {word.acked} rows, epochs {word.epochs}"
    )
    assert word.is_clean, word
    assert word.outage_s <= outage_s, f"{word}\n{cluster.around_the_gap()}"
    assert whole_s <= WHOLE_S
    return word
