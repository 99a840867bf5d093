"""The outside client: one writer pinned to each node, in a process of its own, and what it says in the end.

It knows its own acknowledgements only; nothing of pgha's state reaches it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from pgha.adapters.local_judge import JudgeProcess
from pgha.ops import drill_role
from tests.loopback.cluster import Cluster
from tests.support.postgres_pair import until

LOG = logging.getLogger("pgha.loopback")  # pytest --log-file=FILE --log-file-level=INFO keeps every verdict


@dataclass(frozen=True, slots=True)
class Word:
    """The judge's verdict on everything since the client began to write (see pgha.ops.judge.Verdict)."""

    lost: int | None
    two_writers: int
    duplicates: int
    outage_s: float
    acked: int
    unsure: int
    epochs: tuple[int, ...]
    text: str

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing twice, one writer."""
        return self.lost == 0 and self.two_writers == 0 and self.duplicates == 0

    def __str__(self) -> str:
        return self.text


class Writing:
    """The client while it writes."""

    def __init__(self, judge: JudgeProcess) -> None:
        self._judge = judge

    @property
    def acked(self) -> int:
        """Rows acknowledged so far."""
        return int(str(self._judge.order("status")["acked"]))

    @property
    def epoch(self) -> int:
        """The newest epoch under which a row was acknowledged."""
        return int(str(self._judge.order("status")["epoch"]))

    @property
    def node(self) -> str:
        """Who acknowledged last under it."""
        return str(self._judge.order("status")["node"])

    def await_epoch_after(self, epoch: int, *, within_s: float = 30.0) -> str:
        """Until rows are acknowledged under a newer epoch; gives by whom."""
        until(lambda: self.epoch > epoch, within_s=within_s, what=f"a row is acknowledged under an epoch after {epoch}")
        return self.node

    def await_rows(self, more: int = 20, *, within_s: float = 30.0) -> None:
        """Until so many more rows are acknowledged."""
        wanted = self.acked + more
        until(lambda: self.acked >= wanted, within_s=within_s, what=f"{more} more rows are acknowledged")

    def verdict(self) -> Word:
        """Asks the surviving primary for its rows, and judges."""
        said = self._judge.order("verdict", within_s=60.0)
        epochs = said["epochs"]
        assert isinstance(epochs, list)
        word = Word(
            lost=None if said["lost"] is None else int(str(said["lost"])),
            two_writers=int(str(said["two_writers"])),
            duplicates=int(str(said["duplicates"])),
            outage_s=float(str(said["outage_s"])),
            acked=int(str(said["acked"])),
            unsure=int(str(said["unsure"])),
            epochs=tuple(epochs),
            text=", ".join(f"{key} {value}" for key, value in said.items() if key != "faults"),
        )
        LOG.info("%s", word)
        return word


@contextlib.contextmanager
def writing(cluster: Cluster) -> Iterator[Writing]:
    """A client that writes to an empty table for as long as the block runs; its first rows are acknowledged."""
    cluster.ask(cluster.primary, f"TRUNCATE {drill_role.NAME}")
    nodes = [{"name": n.name, "host": n.host, "port": n.port} for n in cluster.nodes.values()]
    login = {"user": drill_role.NAME, "password": cluster.password, "dbname": drill_role.NAME}
    with JudgeProcess({"nodes": nodes, **login, "history": ""}) as judge:
        writer = Writing(judge)
        writer.await_rows()
        judge.order("begin")
        yield writer
