"""What a cluster promises and when it fails over: the section `ha`, and the same keys changed later (`pgha config`).

One reader and one set of checks, for the file and for the command. May import `pgha.errors` and `pgha.inventory_*`
below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgha import inventory_forms as forms
from pgha.errors import Findings, UsageError
from pgha.inventory_model import HaSpec
from pgha.inventory_nodes import MOST_NODES
from pgha.inventory_section import Section
from pgha.inventory_yaml import Report, Spot, Table, compose, shown

FAILOVER_BOUNDS = "5s to 5min: below 5s an ordinary election of etcd would interrupt writes"
MAX_LAG_BOUND = 1 << 40


@dataclass(frozen=True, slots=True)
class Finding:
    """Values that don't go together. key: the one to be changed, `wrong` what is wrong with it."""

    key: str
    wrong: str
    because: str
    next_step: str


def read(section: Section, count: int, plain: HaSpec) -> HaSpec:
    """The section; `plain` where it says nothing. count: of nodes, 0 when they could not be read."""
    ha = HaSpec(
        failover_after_s=section.read(
            "failover_after", forms.duration(5, 300, FAILOVER_BOUNDS), plain.failover_after_s
        ),
        durability=section.read("durability", forms.choice("quorum", "strict", "async"), plain.durability),
        copies=section.read("copies", forms.whole(0, count - 1 if count else MOST_NODES), plain.copies),
        max_lag=section.read("max_lag", forms.size(0, MAX_LAG_BOUND), plain.max_lag),
    )
    for finding in findings(ha, count):
        what = f"{section.named(finding.key)}{finding.wrong}"
        section.report.add(section.at(finding.key), what, finding.because, finding.next_step)
    return ha


def findings(ha: HaSpec, count: int) -> list[Finding]:
    """Values that don't go together."""
    found = []
    if ha.copies and ha.durability == "async":
        step = "delete copies, or write durability: quorum"
        found.append(Finding("copies", " with durability async", "async commits wait for no copy", step))
    if ha.durability == "strict" and count == 1:
        because = "strict blocks writes while no standby is there, and there never is one"
        step = "add nodes, or write durability: quorum"
        found.append(Finding("durability", ": strict with one node", because, step))
    return found


def changed(words: Sequence[str], count: int, plain: HaSpec) -> HaSpec:
    """`plain` with these `key=value`, read and checked as in the file. Raises Findings, all of them."""
    report, lines = Report(""), []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name or not text.strip() or not word.isprintable():
            report.add(Spot(), f"{shown(word)} is not KEY=VALUE", "", "for example durability=async")
        else:
            lines.append(f"{name}: {text}\n")
    tree = compose("".join(lines), report) if lines else None
    ha = read(Section(report, tree, path="ha"), count, plain) if isinstance(tree, Table) else plain
    if report.found:
        # The place in a text that nobody wrote says nothing.
        problems = [(error.what.partition(": ")[2], error) for _, error in report.found]
        raise Findings([UsageError(what, error.because, error.next_step) for what, error in problems])
    return ha
