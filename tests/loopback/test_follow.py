"""A node that follows a standby instead of the primary, through the end of each of the three: nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.core import upstream
from pgha.errors import Exit
from pgha.ops import local_nodes
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster, pgha
from tests.loopback.writing import writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.deep, pytest.mark.timeout(300)]

BACK_S = upstream.AWAY_S + 15.0


@pytest.fixture
def four() -> Iterator[Cluster]:
    """A cluster of its own; n4 is to follow n3."""
    cluster = Cluster()
    try:
        cluster.up(4)
        cluster.await_healthy()
        path = Path(cluster.target.where)
        text = path.read_text()
        line = re.search(r"^  n4: .*$", text, re.MULTILINE)
        assert line is not None, text
        path.write_text(text.replace(line.group(0), line.group(0).replace("}", ", follow: n3}")))
        said = pgha("bootstrap", "-i", str(path), within_s=90.0)
        assert said.code == 0, said
        yield cluster
    finally:
        cluster.down()


def streams_from(cluster: Cluster, source: str, *, within_s: float = 30.0) -> None:
    """n4's server does, by the other server's own word, and by n4's record."""
    node = cluster.nodes[source]

    def is_so() -> bool:
        sql = "SELECT state FROM pg_stat_replication WHERE application_name LIKE 'n4.%'"
        body = cluster.said(node, (sql,))
        member = cluster.member(cluster.nodes["n4"])
        return body["rows"] == [["streaming"]] and (member.follows, member.state) == (source, "streaming")

    until(is_so, within_s=within_s, what=f"n4 streams from {source}", every_s=0.1)


def holding(node: LocalNode, cluster: Cluster) -> set[str | None]:
    """The slots there that hold WAL."""
    sql = "SELECT slot_name FROM pg_replication_slots WHERE restart_lsn IS NOT NULL"
    return {row[0] for row in cluster.sql(node, sql)}


def test_a_node_that_follows_a_standby_goes_on_whoever_of_them_ends(four: Cluster) -> None:
    n1, n2, n3 = (four.nodes[name] for name in ("n1", "n2", "n3"))
    if four.primary is not n1:
        four.switch(n1)
    with writing(four) as client:
        streams_from(four, "n3")
        four.await_healthy()
        assert "n4" not in {v.node for v in four.leader.sync[-1].voters}
        until(lambda: "pgha_n4" in holding(n3, four), within_s=10.0, what="n3's slot holds its WAL")
        until(lambda: "pgha_n4" not in holding(n1, four), within_s=10.0, what="n1's slot holds none for it")
        said = pgha("list", "-i", four.target.where)
        assert said.code == 0 and "follow n3" in said.text, said

        four.switch(n3)  # whom it follows leads now
        streams_from(four, "n3")
        four.await_healthy()
        four.switch(n1)
        streams_from(four, "n3")

        faults.kill(faults.of(n1, "postgres"))  # the primary's server ends
        four.await_healthy()
        streams_from(four, "n3")
        if four.primary is n3:
            four.switch(n1)
            streams_from(four, "n3")

        local_nodes.hold_down(n3)  # whom it follows is away
        faults.kill(faults.of(n3, *faults.NODE))
        streams_from(four, four.primary.name, within_s=BACK_S)
        found = four.await_status(lambda s: bool(s.remarks), "it is told")
        assert found.exit == Exit.DEGRADED and any("n4 streams from" in remark for remark in found.remarks), found
        four.power_on(n3)
        streams_from(four, "n3", within_s=upstream.BACK_S + 20.0)
        four.await_healthy()
        word = client.verdict()
    assert word.is_clean, word
    assert n2.name in {v.node for v in four.leader.sync[-1].voters} | {four.primary.name}
