"""One lab of three prepared hosts for the lab's own tests, one cluster on hosts for all scenarios, their file of runs.

Each test begins with everything up and the network whole. A scenario's outcome is appended to PGHA_TEST_RECORD.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.ops import drill_role
from tests.hosts import kept, tools
from tests.hosts.cluster import MADE, HostCluster, writing
from tests.hosts.lab import Lab, Spec
from tests.hosts.scenes import NOW, SUPERVISOR
from tests.hosts.shell import LabError
from tests.loopback.writing import Writing

NAMES = ("n1", "n2", "n3")
HERE = Path(__file__).parent
OPTIONAL = os.environ.get("PGHA_TEST_HOSTS") == "optional"  # a machine that can't make hosts after all is no failure
BROKEN: list[str] = []  # before which test the cluster did not become whole: the others need not wait


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there can be no hosts, their tests say why."""
    reason = tools.why_not()
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.hosts)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """PGHA_TEST_REPEAT: each scenario so often, in one lab."""
    times = int(os.environ.get("PGHA_TEST_REPEAT", "1"))
    if times > 1 and "hosted" in metafunc.fixturenames:  # also those that make their client themselves
        metafunc.fixturenames.append("again")
        metafunc.parametrize("again", range(times), ids=[f"again{i}" for i in range(times)])


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    """The lab's life."""
    lab = Lab("tests")
    try:
        yield lab.up([Spec(name) for name in NAMES])
    finally:
        lab.down()


@pytest.fixture
def lab(made: Lab) -> Lab:
    """All hosts up, the network whole."""
    made.heal()
    made.boot(*[name for name, host in made.hosts.items() if not host.pid])
    for name in made.hosts:
        made.thaw(name)
    return made


@pytest.fixture(scope="session")
def hosted() -> Iterator[HostCluster]:
    """One cluster for all scenarios of the run."""
    lab = Lab(os.environ.get("PGHA_TEST_LAB", "faults"))
    cluster = HostCluster(lab, SUPERVISOR)
    try:
        try:
            lab.up([Spec(name) for name in NAMES])
        except (LabError, OSError) as e:
            if not OPTIONAL:
                raise
            pytest.skip(f"no hosts can be made here: {e}"[:300])
        MADE.append(cluster)
        print(f"bootstrap of three prepared hosts: {cluster.bootstrap():.1f} s")
        yield cluster
    finally:
        cluster.close()
        with contextlib.suppress(*(() if MADE else (LabError, OSError))):  # what could not be made
            lab.down()
        MADE.clear()


@pytest.fixture
def own(hosted: HostCluster, request: pytest.FixtureRequest) -> HostCluster:
    """Everything is up and whole; the writing client's table may be missing."""
    if BROKEN:
        pytest.fail(f"the cluster has not been whole since before {BROKEN[0]}", pytrace=False)
    hosted.lab.heal()
    hosted.lab.boot(*[name for name, host in hosted.lab.hosts.items() if not host.pid])
    for name in hosted.lab.hosts:
        hosted.lab.thaw(name)
    BROKEN.append(request.node.name)
    hosted.await_whole()
    BROKEN.clear()
    return hosted


@pytest.fixture
def cluster(own: HostCluster) -> HostCluster:
    """The same, with the client's role and table."""
    if own.sql(own.primary, [f"SELECT 1 FROM pg_database WHERE datname = '{drill_role.NAME}'"]).strip() != "1":
        own.make_role()
    return own


@pytest.fixture
def client(cluster: HostCluster) -> Iterator[Writing]:
    """The client that never stops writing."""
    with writing(cluster) as writer:
        yield writer


@pytest.fixture(autouse=True)
def _now() -> None:
    """Nothing is known of the scenario yet."""
    NOW.known = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure comes with the ends of the nodes' logs, before anything is put right; a scenario leaves its line."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy sends it the result
    if report.failed and report.when in ("setup", "call"):
        for cluster in MADE:
            report.sections += cluster.log_ends()
    if report.when == "call" and MADE and (NOW.known or (report.failed and "client" in item.fixturenames)):  # type: ignore[attr-defined]  # a function's
        kept.keep(item, report, MADE[0], time.time())
    return report  # type: ignore[return-value]
