"""The judge of this stage can say no: a row that is taken away behind its back is a row lost."""

from __future__ import annotations

import pytest

from tests.loopback.cluster import Cluster
from tests.loopback.writing import Writing

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]


def test_a_row_taken_away_is_a_row_lost(cluster: Cluster, client: Writing) -> None:
    assert client.verdict().is_clean
    cluster.ask(cluster.primary, "DELETE FROM pgha_drill WHERE n = 7")
    word = client.verdict()
    assert word.lost == 1 and not word.is_clean, word
