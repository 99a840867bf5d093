"""The decision table projected: for each rule its situations, counted, and the values of each axis it occurs with.

One projection, two texts: the golden file of `test_decide.py` and `docs/decisions-table.md`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pgha.core.decide import Rule
from pgha.core.situation import AXES, Situation

Decision = tuple[Situation, Rule]


@dataclass(frozen=True, slots=True)
class Row:
    """One rule: how many situations lead to it, and with which values of each axis, in the order of the axis."""

    rule: Rule
    count: int
    values: dict[str, tuple[Enum, ...]]

    def restricted(self) -> dict[str, tuple[Enum, ...]]:
        """The axes of which some value never occurs with this rule."""
        return {axis: found for axis, found in self.values.items() if len(found) < len(AXES[axis])}


def project(table: Iterable[Decision]) -> tuple[Row, ...]:
    """A row for every rule, in the order of the rules."""
    counts = dict.fromkeys(Rule, 0)
    seen: dict[Rule, dict[str, set[Enum]]] = {rule: {axis: set() for axis in AXES} for rule in Rule}
    for situation, rule in table:
        counts[rule] += 1
        for axis, found in seen[rule].items():
            found.add(getattr(situation, axis))
    ordered = {r: {a: tuple(v for v in AXES[a] if v in found) for a, found in axes.items()} for r, axes in seen.items()}
    return tuple(Row(rule, counts[rule], ordered[rule]) for rule in Rule)


def as_text(rows: Iterable[Row]) -> str:
    """The golden file: every rule with all its values, by name; `*` for a whole axis."""
    lines = []
    for row in rows:
        lines += [f"{row.rule.name} {row.count} {row.rule.action.name}", f"  {row.rule.sentence}"]
        for axis, found in row.values.items():
            said = "*" if len(found) == len(AXES[axis]) else " ".join(v.name for v in found)
            lines.append(f"  {axis:7}{said}")
    return "\n".join(lines) + "\n"


PAGE = """# Decisions

What a node does in each of the {count:,} situations it can see: exactly one rule. Generated from `pgha/core/decide.py`
by `PGHA_REWRITE=1 ./scripts/test tests/core/test_decide.py`; a test keeps it equal. Safety comes before the store, the
store before the holder's duties, these before a standby's. The log names the rule; its number is stable over versions.

A rule's values are those it occurs with at all: not every combination of them leads there. An axis that is not
listed decides nothing alone (each of its values occurs).

## What is seen

{axes}

## The rules

| rule | situations | what is done | why |
|---|---:|---|---|
{table}

## Where they apply

{details}
"""


def as_page(rows: tuple[Row, ...]) -> str:
    """docs/decisions-table.md."""
    axes = []
    for axis, values in AXES.items():
        axes += [f"- **{axis}**", *(f"  - `{value.name}` {value.value}" for value in values)]
    table = [f"| {r.rule.ident} | {r.count:,} | {r.rule.action.value} | {r.rule.sentence} |" for r in rows]
    details = [f"- **{row.rule.name}**: {_where(row)}" for row in rows]
    count = sum(row.count for row in rows)
    return PAGE.format(count=count, axes="\n".join(axes), table="\n".join(table), details="\n".join(details))


def _where(row: Row) -> str:
    parts = []
    for axis, found in row.restricted().items():
        others = [v for v in AXES[axis] if v not in found]
        said = f"not {_names(others)}" if len(others) < len(found) else _names(found)
        parts.append(f"{axis} {said}")
    return "; ".join(parts)


def _names(values: Iterable[Enum]) -> str:
    return ", ".join(f"`{v.name}`" for v in values)
