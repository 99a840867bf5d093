"""Nodes and commands of version N and of the one before work together: what either writes, the other reads.

The samples are what a real cluster of the version before has written, `golden/*-of-0.0.9.json`. A version that writes a
field less, or of another type, breaks the one before; one that needs a field more breaks on what that one has written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pgha import nodefile, records
from pgha.core.model import Copy, Order, Settings, Tenure
from pgha.records import Records, parse_order, parse_settings, parse_value

GOLDEN = Path(__file__).parent / "golden"
STORE: dict[str, dict[str, object]] = json.loads((GOLDEN / "store-of-0.0.9.json").read_text())
NODE: dict[str, object] = json.loads((GOLDEN / "node-of-0.0.9.json").read_text())
ORDER = {
    "schema": 1,
    "kind": "switchover",
    "ident": "8a1f",
    "epoch": 2,
    "source": "n1",
    "target": "n2",
    "phase": "asked",
    "budget_s": 30.0,
    "asked_by": "anna@desk",
    "asked_at": 1763993019.5,
    "answer": "",
    "revision": 0,
    "gives_up": [],
    "reason": "",
    "for_s": 0.0,
    "begun_s": 0.0,
    "data": "",
}  # of that version, field by field: a cluster at rest has none


def read(store: Mapping[str, Mapping[str, object]]) -> Records:
    entries = {f"/pgha/demo/{key}": (json.dumps(body).encode(), 7) for key, body in store.items()}
    return records.parse_snapshot("demo", 7, entries)


def written(found: Records) -> dict[str, bytes]:
    """What this version writes of the same things."""
    assert found.leader is not None and found.settings is not None and found.cluster is not None
    return {
        "leader": records.dump_leader(found.leader),
        "config": records.dump_settings(found.settings),
        "cluster": records.dump_cluster(found.cluster),
        **{f"members/{name}": records.dump_member(member) for name, member in found.members.items()},
        **{f"history/{epoch}": records.dump_event(event) for epoch, event in found.history.items()},
    }


def missing(before: object, now: object, where: str) -> list[str]:
    """What the version before has written and this one does not, or as another type."""
    if isinstance(before, dict) and isinstance(now, dict):
        gone = [f"{where}.{name} is gone" for name in before if name not in now]
        return gone + [line for name in before if name in now for line in missing(before[name], now[name], name)]
    kinds = [
        float if isinstance(value, int) and not isinstance(value, bool) else type(value) for value in (before, now)
    ]
    return [] if kinds[0] is kinds[1] else [f"{where} was {before!r}, is {now!r}"]


def test_what_the_version_before_has_written_is_read() -> None:
    found = read(STORE)
    assert found.problems == () and sorted(found.members) == ["n1", "n2", "n3"] and sorted(found.history) == [2, 5]
    assert found.leader is not None and found.leader.tenure is Tenure.HELD
    voters = found.leader.sync[-1].voters
    assert {found.members[c.node].copy for c in voters} == set(voters) and Copy(
        "n2", found.members["n2"].data
    ) in voters
    assert found.members["n1"].primary and found.members["n1"].version == "0.0.9"


@pytest.mark.parametrize("key", STORE)
def test_what_this_version_writes_has_all_that_the_version_before_reads(key: str) -> None:
    now = json.loads(written(read(STORE))[key])
    assert missing(STORE[key], now, key) == []


def test_an_order_goes_both_ways() -> None:
    order = parse_value("request", json.dumps(ORDER).encode(), parse_order)
    assert isinstance(order, Order) and missing(ORDER, json.loads(records.dump_order(order)), "order") == []


def test_a_node_file_of_the_version_before_is_read_and_this_versions_has_all_of_it() -> None:
    node = nodefile.parse(json.dumps(NODE))
    assert missing(NODE, json.loads(nodefile.dump(node)), "node file") == []


@pytest.mark.parametrize("key", STORE)
def test_fields_of_a_newer_version_are_in_nobodys_way(key: str) -> None:
    grown = {**STORE, key: {**STORE[key], "newer": {"a": [1, None]}}}
    assert replace(read(grown), revisions={}) == replace(read(STORE), revisions={})


def test_who_changes_the_settings_by_an_older_version_keeps_what_a_newer_one_wrote() -> None:
    grown = {**STORE["config"], "newer": {"a": [1, None]}}
    settings = parse_value("config", json.dumps(grown).encode(), parse_settings)
    assert isinstance(settings, Settings)
    again = json.loads(records.dump_settings(replace(settings, copies=2)))
    assert again["newer"] == {"a": [1, None]} and again["copies"] == 2


@pytest.mark.parametrize("key", STORE)
def test_a_newer_form_is_left_alone_and_said_in_plain_words(key: str) -> None:
    found = read({**STORE, key: {**STORE[key], "schema": 2}})
    (problem,) = found.problems
    assert problem.key == key and "a newer pgha has written it, upgrade this one" in problem.why


def test_a_node_file_of_a_newer_form_is_refused_in_plain_words() -> None:
    with pytest.raises(ValueError, match="a newer pgha has written it, upgrade this one"):
        nodefile.parse(json.dumps(NODE | {"schema": 2}))
