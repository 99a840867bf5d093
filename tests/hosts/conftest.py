"""One lab of three prepared hosts for all tests; each begins with all of them up and the network whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import tools
from tests.hosts.cluster import MADE
from tests.hosts.lab import Lab, Spec

NAMES = ("n1", "n2", "n3")
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there can be no hosts, their tests say why."""
    reason = tools.why_not()
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.hosts)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


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
