"""`explain` can't lie: what it computes is what core decides, and every rule's sentence reaches the page."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pgha import records, render_explain
from pgha.cli import main as cli
from pgha.cli import sources
from pgha.core.decide import Rule, choose
from pgha.core.model import Position, Seal
from pgha.core.situation import Bid, Budget, Duty, Holder, Path, Server, Situation, Store
from pgha.errors import Exit, UsageError
from pgha.ops import status
from pgha.ops.explain import explain, find_gap, nearest
from pgha.ops.observed import WORD, rebuild
from pgha.ops.status import Seen, judge
from tests.ops import explain_cases
from tests.ops.cases import LSN, TARGET, copy
from tests.ops.explain_cases import BY_RULE, FREE, HELD_SILENT, PAGES, SILENT, down, key, look, sealed, told
from tests.support import golden


def _page(seen: Seen, only: str | None = None) -> str:
    return "\n".join(render_explain.lines(explain(TARGET, seen, only), 80)) + "\n"


def _flat(page: str) -> str:
    return " ".join(page.split())


# -- every rule ------------------------------------------------------------------------------------------------


def test_there_is_a_look_for_every_rule() -> None:
    assert set(BY_RULE) == set(Rule)


@pytest.mark.parametrize("rule", Rule, ids=lambda r: r.ident)
def test_every_rule_of_a_node_reaches_the_page_with_its_sentence(rule: Rule) -> None:
    node, seen = BY_RULE[rule]
    assert f"does {rule.sentence} ({rule.ident})" in _flat(_page(seen, node))


@pytest.mark.parametrize("rule", Rule, ids=lambda r: r.ident)
def test_the_rebuilt_situation_gives_the_rule_the_node_published(rule: Rule) -> None:
    node, seen = BY_RULE[rule]
    built = rebuild(seen, node)
    assert built is not None and built.rule is rule and choose(built.situation) is rule
    assert "its own word; the store" not in _flat(_page(seen, node))


@pytest.mark.parametrize("rule", [Rule.R110_FENCE_EXPIRED, Rule.R150_STOP_LATE], ids=lambda r: r.ident)
def test_a_paused_holder_that_could_not_renew_is_computed_as_it_says(rule: Rule) -> None:
    built = rebuild(look(told("n1", rule), leader=explain_cases.PAUSED), "n1")
    assert built is not None and built.rule is rule


SHOWN_BY_THE_STORE = [rule for rule in Rule if rule not in WORD]


@pytest.mark.parametrize("rule", SHOWN_BY_THE_STORE, ids=lambda r: r.ident)
def test_what_the_store_shows_needs_no_word_of_the_node(rule: Rule) -> None:
    node, seen = BY_RULE[rule]
    mute = {**seen.records.members, node: replace(seen.records.members[node], rule="")}
    built = rebuild(replace(seen, records=replace(seen.records, members=mute)), node)
    assert built is not None and built.rule is rule and built.word == ()


@pytest.mark.parametrize("rule", Rule, ids=lambda r: r.ident)
def test_a_deciding_fact_that_rests_on_the_node_alone_is_marked(rule: Rule) -> None:
    node, seen = BY_RULE[rule]
    found = explain(TARGET, seen, node).nodes[0]
    assert found.rebuilt is not None
    marked = "(its own word)" in _flat(_page(seen, node))
    assert marked == any(r.axis in found.rebuilt.word for r in found.reasons)


# -- the page --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_as_kept(name: str) -> None:
    golden.check(_page(PAGES[name]), f"explain-{name}.txt", beside=__file__)


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_the_page_of_one_node_is_as_kept(node: str) -> None:
    golden.check(_page(PAGES["two-of-three-down"], node), f"explain-one-{node}.txt", beside=__file__)
    golden.check(_page(PAGES["healthy"], node), f"explain-one-{node}-healthy.txt", beside=__file__)


@pytest.mark.parametrize("name", PAGES)
def test_no_line_is_wider_than_80_and_the_page_is_a_screen_or_two(name: str) -> None:
    lines = _page(PAGES[name]).splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) <= 40


@pytest.mark.parametrize("name", PAGES)
def test_the_exit_code_is_that_of_list(name: str) -> None:
    assert explain(TARGET, PAGES[name]).exit == judge(TARGET, PAGES[name]).exit


@pytest.mark.parametrize("name", PAGES)
def test_only_where_all_is_well_and_nothing_is_ordered_there_is_no_next_step(name: str) -> None:
    found = explain(TARGET, PAGES[name])
    well = found.exit == Exit.OK and not found.status.order and not any(n.astray for n in found.nodes)
    assert bool(found.next_step) != well


def test_nothing_the_store_says_can_move_the_cursor() -> None:
    evil = replace(told("n2"), rule="R9\x1b[2J", state="str\x07eaming", problem="\x1b]0;x\x07")
    assert all(c.isprintable() for line in _page(look(evil)).splitlines() for c in line)


def test_a_node_that_does_not_exist_is_a_usage_error_that_names_those_that_do() -> None:
    with pytest.raises(UsageError) as e:
        explain(TARGET, look(), "n9")
    assert e.value.because == "nodes: n1, n2, n3"


def test_a_silent_node_is_not_computed_from_its_old_record() -> None:
    found = explain(TARGET, look(told("n3", written_at=SILENT)), "n3").nodes[0]
    assert found.rebuilt is None and not found.fresh
    assert "what it does now nobody knows" in _page(look(told("n3", written_at=SILENT)), "n3")


# -- conditions ------------------------------------------------------------------------------------------------


def test_the_nearest_way_to_a_rule_is_one_that_leads_there() -> None:
    for _, seen in BY_RULE.values():
        for node in explain(TARGET, seen).nodes:
            for wanted in (node.to_lead, node.to_follow):
                if wanted is None or node.rebuilt is None:
                    continue
                for number in range(max((len(v) for _, v in wanted.changes), default=1)):
                    flips = {axis: values[min(number, len(values) - 1)] for axis, values in wanted.changes}
                    changes: dict[str, object] = dict(flips)
                    there = replace(node.rebuilt.situation, **changes)  # type: ignore[arg-type]
                    assert choose(there) is wanted.rule


def test_no_way_is_shorter_than_the_one_that_is_told() -> None:
    built = rebuild(look(), "n2")
    assert built is not None
    found = nearest(built.situation, Rule.R670_CLAIM)
    assert found is not None and dict(found.changes) == {
        "holder": (Holder.RELEASED, Holder.SILENT),
        "server": (Server.SEALED,),
        "bid": (Bid.COVERED,),
    }


def test_a_rule_that_is_there_needs_no_change() -> None:
    here = Situation(Store.FRESH, Holder.RELEASED, Server.SEALED, Bid.COVERED, Path.UNKNOWN, Duty.NONE, Budget.WITHIN)
    found = nearest(here, Rule.R670_CLAIM)
    assert found is not None and found.changes == ()


# -- who is missing --------------------------------------------------------------------------------------------


def test_a_gap_names_the_absent_copies_their_positions_and_who_would_do() -> None:
    gap = find_gap(PAGES["released-seals-missing"])
    assert gap is not None and gap.best == Seal(7, copy("n2"), Position(3, LSN - 4096))
    assert [(m.have, m.need) for m in gap.lacks] == [(1, 2)]
    assert [(str(a.copy), str(a.position), a.enough) for a in gap.absent] == [
        ("n1.d1", "3:0/5000000", True),
        ("n3.d3", "3:0/5000000", True),
    ]


def test_a_silent_holder_has_at_least_what_was_sealed_of_its_timeline_whatever_it_published_last() -> None:
    ahead = sealed("n2", Rule.R640_WAIT_SEALS, LSN + 4096)
    gap = find_gap(look(told("n1", written_at=SILENT), ahead, told("n3", written_at=SILENT)))
    assert gap is not None and [(str(a.copy), a.enough) for a in gap.absent] == [("n1.d1", True), ("n3.d3", True)]


def test_while_a_primary_reports_nobody_is_missing() -> None:
    assert find_gap(look()) is None and find_gap(look(told("n3", written_at=SILENT))) is None


def test_a_holder_that_a_node_no_longer_hears_is_doubted_before_its_record_is_old() -> None:
    found = explain(TARGET, PAGES["holder-just-silent"])
    assert found.gap is not None and "n2 said of the leader key: its holder has been silent for H" in found.notes


def test_with_cover_nobody_is_missing() -> None:
    assert find_gap(BY_RULE[Rule.R670_CLAIM][1]) is None


@pytest.mark.parametrize(("name", "now"), [("voter-recloned", "n3.fresh"), ("voter-emptied", "none")])
def test_a_directory_that_is_gone_does_not_help(name: str, now: str) -> None:
    gap = find_gap(PAGES[name])
    assert gap is not None
    assert [(a.copy.node, a.replaced_by, a.enough) for a in gap.absent] == [("n1", "", True), ("n3", now, False)]


def test_where_only_barred_nodes_have_cover_nobody_is_missing_and_the_silent_one_is_started() -> None:
    assert find_gap(PAGES["barred"]) is None
    assert explain(TARGET, PAGES["barred"]).next_step.startswith("ssh 192.0.2.11 ")
    three = [sealed(n, Rule.R660_BARRED, nofailover=True) for n in ("n1", "n2", "n3")]
    assert explain(TARGET, look(*three, leader=FREE)).next_step.startswith("allow one to lead: take nofailover from")


def test_a_barred_node_may_cover_and_not_lead() -> None:
    seen = look(HELD_SILENT, sealed("n2", Rule.R660_BARRED, nofailover=True), told("n3", written_at=SILENT))
    gap = find_gap(seen)
    assert gap is not None and gap.barred
    assert {a.copy.node: a.enough for a in gap.absent}["n3"]  # n3 itself leads then, n2's seal below it


def test_a_seal_that_helps_only_a_barred_node_to_cover_is_not_enough() -> None:
    behind = told("n3", written_at=SILENT, position=Position(3, LSN - 8))
    gap = find_gap(look(HELD_SILENT, sealed("n2", Rule.R660_BARRED, nofailover=True), behind))
    assert gap is not None and not {a.copy.node: a.enough for a in gap.absent}["n3"]


def test_where_several_seals_are_needed_the_latest_seen_of_the_silent_is_started() -> None:
    voters = frozenset(copy(f"n{i}") for i in (2, 3, 4, 5))
    seen = look(
        told("n1", written_at=SILENT, data="other"),
        sealed("n2", Rule.R640_WAIT_SEALS),
        replace(told("n3"), node="n4", data="d4", written_at=SILENT),
        leader=key(sync=(replace(key().sync[0], voters=voters, k=2),)),
    )
    assert explain(TARGET, seen).next_step.startswith("ssh n4 ")


def test_where_what_is_missing_is_gone_it_must_be_brought_back() -> None:
    others = [sealed(n, Rule.R640_WAIT_SEALS, data="new", seal=None) for n in ("n2", "n3")]
    found = explain(TARGET, look(told("n1", written_at=SILENT, data="other"), *others))
    assert found.next_step == "bring back the data directory n1.d1, n2.d2, n3.d3, then pgha list -w"


def test_the_next_step_starts_whose_seal_would_do() -> None:
    lost_tail = look(
        down("n1", Rule.R300_RELEASE_DOWN, written_at=SILENT - 60),
        sealed("n2", Rule.R640_WAIT_SEALS),
        told("n3", written_at=SILENT),
        leader=FREE,
    )
    assert (
        explain(TARGET, lost_tail).next_step
        == "ssh 192.0.2.13 sudo -u postgres pgha watchdog --node /etc/pgha/shop.json"
    )
    local = replace(TARGET, local_dir="/srv/three", flags="-i three.yaml ")
    assert explain(local, lost_tail).next_step == "pgha -i three.yaml bootstrap"


def test_seals_that_are_on_their_way_are_waited_for() -> None:
    assert explain(TARGET, PAGES["holder-silent-sealing"]).next_step == "pgha list -w"


@pytest.mark.parametrize("name", ["key-missing", "restored", "foreign", "unreadable-key"])
def test_where_the_operator_decides_the_next_step_only_looks(name: str) -> None:
    assert explain(TARGET, PAGES[name]).next_step.endswith("get --prefix /pgha/shop/ --keys-only")


# -- JSON, and the command -------------------------------------------------------------------------------------


def test_json_has_stable_names_and_its_schema() -> None:
    found = explain(TARGET, PAGES["two-of-three-down"])
    body = json.loads(json.dumps(render_explain.as_dict(found)))
    assert body["schema_version"] == 1 and body["exit"] == 11 and body["leader"] is None
    assert set(body) == {
        "schema_version", "cluster", "verdict", "exit", "epoch", "leader", "answer", "notes", "missing", "nodes",
        "next",
    }  # fmt: skip
    assert set(body["nodes"][1]) == {
        "node", "role", "state", "seen_s", "reports", "problem", "says", "computed", "differs", "own_word", "because",
        "to_lead", "to_follow", "lacks",
    }  # fmt: skip
    assert body["missing"]["best"] == {"copy": "n2.d2", "position": "3:0/5000000"}
    assert body["nodes"][1]["own_word"] == ["holder"] and body["nodes"][1]["to_lead"] == {"bid": ["COVERED"]}


@pytest.mark.parametrize("name", PAGES)
def test_every_answer_can_be_json(name: str) -> None:
    assert json.dumps(render_explain.as_dict(explain(TARGET, PAGES[name])))


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("healthy", [], Exit.OK),
        ("standby-down", ["n3"], Exit.DEGRADED),
        ("two-of-three-down", ["-o", "json"], Exit.NO_PRIMARY),
        ("store-down", [], Exit.STORE),
        ("healthy", ["n9"], Exit.USAGE),
    ],
)
def test_the_command_ends_as_list_does(
    name: str, words: list[str], code: Exit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "target_of", lambda choice: TARGET)
    monkeypatch.setattr(sources, "open_store", lambda access: None)
    monkeypatch.setattr(status, "gather", lambda *args, **more: PAGES[name])
    assert cli.run(["explain", *words]) == code
    said = capsys.readouterr()
    assert said.out if code is not Exit.USAGE else "there is no node 'n9'" in said.err


def test_the_cases_are_those_of_the_builders() -> None:
    assert key().epoch == 3 and look().records.rev("leader") == explain_cases.REV
    assert isinstance(look().records, records.Records)
