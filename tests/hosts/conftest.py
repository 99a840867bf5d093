"""One lab of three prepared hosts for all tests; each begins with all of them up and the network whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import tools
from tests.hosts.cluster import MADE
from tests.hosts.lab import Lab, Spec

NAMES = ("n1", "n2", "n3")
HERE = Path(__file__).parent
LONG = "PGHA_TEST_LONG"
SHORT = (  # what runs every time; the rest has its own command
    "test_lab.py",
    "test_transport.py",
    "test_three_prepared_hosts_are_a_cluster_within_a_minute_and_again_nothing_changes",
    "test_everything_in_the_way_is_told_at_once_and_nothing_is_changed",
    "test_the_primary_loses_power",
    "test_the_primary_is_cut_off_entirely",
    "test_the_primary_is_cut_from_etcd_only",
)
NOT_SHORT = ("test_a_bare_host_has_neither_postgresql_nor_etcd_and_installs_them_through_the_proxy",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there can be no hosts, their tests say why."""
    reason = tools.why_not()
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.hosts)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))
            elif os.environ.get(LONG) != "1" and not _is_short(item):
                item.add_marker(pytest.mark.skip(reason=f"takes minutes: {LONG}=1 ./scripts/test tests/hosts"))


def _is_short(item: pytest.Item) -> bool:
    name = item.name.split("[")[0]
    return name not in NOT_SHORT and (name in SHORT or item.path.name in SHORT)


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure comes with the ends of the nodes' logs, taken before anything is put right."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy sends it the result
    if report.failed and report.when in ("setup", "call"):
        for cluster in MADE:
            report.sections += cluster.log_ends()
    return report  # type: ignore[return-value]
