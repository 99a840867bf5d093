"""One cluster for all scenarios: each begins with a healthy one, and a failed one shows the ends of all logs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loopback.cluster import Cluster
from tests.loopback.writing import Writing, writing

_made: list[Cluster] = []


@pytest.fixture(scope="session")
def made() -> Iterator[Cluster]:
    """The cluster's life."""
    cluster = Cluster()
    _made.append(cluster)
    try:
        cluster.up()
        yield cluster
    finally:
        _made.clear()
        cluster.down()


@pytest.fixture
def cluster(made: Cluster) -> Iterator[Cluster]:
    """A healthy cluster; afterwards no agent has met a bug, whatever was done to it."""
    try:
        made.mend()
        made.await_calm()
    except Exception:  # noqa: BLE001  # what the scenario before left can't be put right: a new one
        made.down()
        made.up()
        made.await_healthy()
    since_s = made.clock.now_s()
    yield made
    made.mend()
    bugs = [bug for node in made.nodes.values() for bug in made.events(node, "bug", since_s=since_s)]
    assert not bugs, bugs[0]


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Writing]:
    """The client that never stops writing."""
    with writing(cluster) as writer:
        yield writer


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure comes with the ends of the logs, taken before anything is put right."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy sends it the result
    if report.failed and report.when in ("call", "teardown"):
        for cluster in _made:
            report.sections += cluster.log_ends()
    return report  # type: ignore[return-value]
