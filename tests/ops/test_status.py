"""What one look at the store means, and the page it makes (golden files at 80 and 120 columns)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pgha import records, render_list
from pgha.core.model import Copy, Leader, Measures, Member, Position, Rule, Tenure
from pgha.core.timing import H_MIN_S
from pgha.errors import Exit
from pgha.ops.status import BEAT_S, SILENT_S, Seen, gather, judge, survivable
from pgha.ports import MemberHealth, Store, StoreDown, StoreHealth
from tests.ops.cases import HEALTH, LSN, MUTE, NOW, PAUSE, TARGET, copy, leader, member, order, seen, without
from tests.support import golden

SILENT = NOW - SILENT_S - 5.0
FOLLOWED = {copy("n2").standby_name(3): ("streaming", LSN - 4096), copy("n3").standby_name(3): ("streaming", LSN - 9)}
FAR = {copy("n2").standby_name(3): ("streaming", LSN - (17 << 20)), copy("n3").standby_name(3): ("streaming", LSN)}
LOOKS: dict[str, Seen] = {
    "healthy": seen(),
    "standby-silent": seen(member("n3", written_at=SILENT), key=leader("n2")),
    "standby-never-seen": without(seen(key=leader("n2")), "n3"),
    "commits-once": seen(
        member("n1", standbys={}),
        member("n2", written_at=SILENT),
        member("n3", state="cloning", problem="copying 41 of 77 MB"),
        key=leader(sync=(Rule(copy("n1"), frozenset(), 0),)),
    ),
    "primary-silent": seen(member("n1", written_at=SILENT)),
    "released": seen(member("n1", primary=False, state="stopped"), key=leader(tenure=Tenure.RELEASED, reason="crash")),
    "two-primaries": seen(member("n2", primary=True, state="primary")),
    "store-member-down": seen(health=StoreHealth(True, (*HEALTH.members[:2], MUTE))),
    "store-down": replace(seen(), down="no answer within 2 s", health=StoreHealth(False, (MUTE, MUTE, MUTE))),
    "junk-keys": seen(problems=(records.Problem("members/n9", "not a JSON object\x1b[2J"),)),
    "switchover-asked": seen(asked=order()),
    "strict-waits": seen(
        member("n1", standbys={}),
        member("n2", written_at=SILENT),
        member("n3", written_at=SILENT),
        durability="strict",
    ),
    "async": seen(
        member("n1", standbys=FOLLOWED),
        key=leader(sync=(), loss_bytes=24576, forks=((2, LSN - 99),)),
        durability="async",
    ),
    "async-nobody": seen(
        member("n1", standbys=FAR), member("n3", nofailover=True), key=leader(sync=()), durability="async"
    ),
    "kept": seen(member("n2", kept=("data.kept-d7-a1b2c3",)), key=leader(kept=(copy("n3"), Copy("n2", "d7")))),
    "near-miss": seen(
        member("n1", measures=Measures({copy("n2").standby_name(3): 0.0}, 3.2, 0.87, NOW - 10800.0, 2)),
        member("n2", measures=Measures(least_s=3.1, least_at=NOW)),
    ),
    "tags-and-pending": seen(
        member("n2", pending={"max_connections": ("100", "200"), "shared_buffers": ("128MB", "1GB")}),
        member("n3", nofailover=True, noloadbalance=True, priority=5),
        key=leader("n2"),
    ),
    "lagging": seen(
        member(
            "n1",
            standbys=FOLLOWED | {copy("n3").standby_name(3): ("streaming", LSN - (24 << 20))},
            measures=Measures({copy("n2").standby_name(3): 0.31, copy("n3").standby_name(3): 84.0}, 2.9),
        ),
    ),
    "paused": seen(key=leader(paused=PAUSE)),
    "empty": replace(seen(), records=records.Records(revision=3), health=HEALTH),
    "restart-asked": seen(wishes={"n2": order(kind="restart", source="n2", target="", phase="begun")}),
    "long-names": seen(
        member("n3", node="a-node-with-quite-a-long-name-of-40-chars", state="rewinding", problem="pg_rewind: 12 %")
    ),
}


@pytest.mark.parametrize("width", range(80, 201, 12))
@pytest.mark.parametrize("name", LOOKS)
def test_no_line_of_the_table_is_wider_than_the_terminal(name: str, width: int) -> None:
    found = judge(TARGET, LOOKS[name])
    table = render_list.lines(found, width)[1 : 2 + len(found.rows)]
    assert max(map(len, table)) <= width or name == "long-names"


def test_columns_give_way_in_their_order_and_tags_are_said_below_then() -> None:
    found = judge(TARGET, LOOKS["tags-and-pending"])
    wide, narrow = (render_list.lines(found, width) for width in (200, 80))
    assert wide[1].split() == list(render_list.COLUMNS)
    assert [c for c in render_list.COLUMNS if c not in narrow[1].split()] == ["TL", "LSN", "TAGS", "HOST"]
    assert "- n3: nofailover, noloadbalance, priority 5" in narrow and not any("- n3:" in line for line in wide)


def test_the_lease_that_a_silent_holder_named_is_not_shown_once_it_has_run_out() -> None:
    at_limit = judge(TARGET, seen(member("n1", written_at=NOW - 3.5))).rows[0]
    beyond = judge(TARGET, seen(member("n1", written_at=NOW - 3.7))).rows[0]
    assert (at_limit.lease_s, beyond.lease_s) == (3.6, None)


def test_a_near_miss_is_said_for_a_day() -> None:
    def told(ago_s: float) -> tuple[str, ...]:
        return judge(TARGET, seen(member("n1", measures=Measures({}, 3.0, 0.87, NOW - ago_s, 1)))).remarks

    assert told(60.0) == ("n1 renewed its lease with 0.9 s left, 60s ago (1 near miss within a day)",)
    assert told(86401.0) == ()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", LOOKS)
def test_the_page_is_as_kept(name: str, width: int) -> None:
    lines = render_list.lines(judge(TARGET, LOOKS[name]), width)
    golden.check("\n".join(lines) + "\n", f"list-{name}-{width}.txt", beside=__file__)


EXITS = {
    "healthy": Exit.OK,
    "standby-silent": Exit.DEGRADED,
    "standby-never-seen": Exit.DEGRADED,
    "commits-once": Exit.DEGRADED,
    "primary-silent": Exit.NO_PRIMARY,
    "released": Exit.NO_PRIMARY,
    "two-primaries": Exit.NO_PRIMARY,
    "store-member-down": Exit.DEGRADED,
    "store-down": Exit.STORE,
    "junk-keys": Exit.DEGRADED,
    "switchover-asked": Exit.OK,
    "strict-waits": Exit.NO_PRIMARY,
    "async": Exit.OK,
    "async-nobody": Exit.DEGRADED,
    "kept": Exit.OK,
    "near-miss": Exit.OK,
    "tags-and-pending": Exit.OK,
    "lagging": Exit.OK,
    "paused": Exit.DEGRADED,
    "empty": Exit.NO_PRIMARY,
    "restart-asked": Exit.OK,
    "long-names": Exit.DEGRADED,
}


@pytest.mark.parametrize("name", LOOKS)
def test_the_exit_code_says_what_the_page_says(name: str) -> None:
    assert judge(TARGET, LOOKS[name]).exit == EXITS[name]


@pytest.mark.parametrize("name", LOOKS)
def test_every_node_of_the_inventory_has_a_row(name: str) -> None:
    rows = {row.node for row in judge(TARGET, LOOKS[name]).rows}
    assert rows >= {"n1", "n2", "n3"}


def test_a_node_that_has_just_reported_is_not_silent_and_one_beat_later_it_is() -> None:
    at_limit = judge(TARGET, seen(member("n3", written_at=NOW - SILENT_S)))
    beyond = judge(TARGET, seen(member("n3", written_at=NOW - SILENT_S - 0.1)))
    assert (at_limit.exit, beyond.exit) == (Exit.OK, Exit.DEGRADED)


def after_the_death_of_n2(ago_s: float) -> Seen:
    """n1 has taken over from n2, whose last record, of the epoch before, says that it is the primary."""
    dead = member("n2", primary=True, state="primary", position=Position(2, LSN), written_at=NOW - ago_s)
    return seen(dead, key=leader("n3"))


def test_a_dead_primary_whose_record_still_says_so_is_no_second_one() -> None:
    at_once = judge(TARGET, after_the_death_of_n2(H_MIN_S))
    assert (at_once.verdict, at_once.exit, at_once.leader) == ("degraded", Exit.DEGRADED, "n1")
    assert [(r.role, r.state) for r in at_once.rows[:2]] == [("primary", "primary"), ("-", "silent, was primary")]
    assert not any("says it is primary" in note for note in at_once.notes)


@pytest.mark.parametrize("ago_s", [0.0, BEAT_S, 2 * BEAT_S])
def test_two_nodes_that_say_now_that_they_are_writable_are_two_primaries(ago_s: float) -> None:
    both = judge(TARGET, after_the_death_of_n2(ago_s))
    assert (both.verdict, both.exit) == ("TWO PRIMARIES", Exit.NO_PRIMARY)
    assert [r.role for r in both.rows] == ["primary", "primary", "standby"]
    assert "n2 says it is primary, the leader key names n1" in both.notes


def test_a_writer_clock_ahead_of_ours_gives_no_negative_age() -> None:
    row = judge(TARGET, seen(member("n2", written_at=NOW + 30.0))).rows[1]
    assert row.seen_s == 0.0 and not row.alert


def test_lag_is_what_the_primary_says_of_its_follower_at_one_moment() -> None:
    standbys = {copy("n2").standby_name(3): ("streaming", LSN - 4096), copy("n3").standby_name(3): ("streaming", LSN)}
    rows = judge(TARGET, seen(member("n1", standbys=standbys))).rows
    assert [row.lag_bytes for row in rows] == [0, 4096, 0]


def test_a_follower_that_has_confirmed_nothing_yet_has_no_known_lag() -> None:
    standbys = {copy("n2").standby_name(3): ("streaming", 0), copy("n3").standby_name(3): ("streaming", LSN)}
    assert [r.lag_bytes for r in judge(TARGET, seen(member("n1", standbys=standbys))).rows] == [0, None, 0]


def test_a_standby_that_claims_to_stream_and_is_not_connected_is_a_disagreement() -> None:
    found = judge(TARGET, seen(member("n1", standbys={copy("n2").standby_name(3): ("streaming", LSN)})))
    assert "n3 says streaming, n1 says not connected" in found.notes and found.exit == Exit.DEGRADED


def test_a_recloned_directory_is_no_voter_though_its_node_is_named() -> None:
    rows = judge(TARGET, seen(member("n3", data="fresh1"))).rows
    assert [row.sync for row in rows] == ["-", "voter", "no"]


def test_a_node_that_may_not_take_over_need_not_vote() -> None:
    refs = (*TARGET.nodes[:2], replace(TARGET.nodes[2], nofailover=True))
    look = seen(member("n3", nofailover=True), key=leader("n2"))
    assert judge(replace(TARGET, nodes=refs), look).exit == Exit.OK


def test_asynchronous_clusters_have_no_voters_and_are_healthy() -> None:
    assert judge(TARGET, seen(key=leader(sync=()), durability="async")).exit == Exit.OK


@pytest.mark.parametrize(
    ("voters", "k", "up", "size", "fresh", "expected"),
    [
        (("n2", "n3"), 1, 3, 3, ("n1", "n2", "n3"), 1),
        (("n2", "n3"), 1, 2, 3, ("n1", "n2", "n3"), 0),  # one store member less, none may go
        (("n2", "n3"), 1, 3, 3, ("n1",), 0),  # voters by name only
        (("n2", "n3", "n4", "n5"), 2, 5, 5, ("n1", "n2", "n3", "n4", "n5"), 2),
        (("n2", "n3", "n4", "n5"), 2, 3, 3, ("n1", "n2", "n3", "n4", "n5"), 1),  # the store bounds it
        ((), 0, 3, 3, ("n1",), 0),
    ],
)
def test_how_many_losses_are_survived(
    voters: tuple[str, ...], k: int, up: int, size: int, fresh: tuple[str, ...], expected: int
) -> None:
    rule = Rule(copy("n1"), frozenset(copy(v) for v in voters), k)
    assert survivable((rule,), store_up=up, store_size=size, fresh=frozenset(fresh)) == expected


def test_an_entry_of_sync_that_still_counts_lowers_what_is_survived() -> None:
    both = (Rule(copy("n1"), frozenset(), 0), leader().sync[0])
    found = judge(TARGET, seen(key=leader(sync=both)))
    assert found.survives == 0 and found.exit == Exit.DEGRADED


def test_json_has_stable_names_and_its_schema() -> None:
    body = json.loads(json.dumps(judge(TARGET, LOOKS["standby-silent"]).as_dict()))
    assert body["schema_version"] == 1 and body["exit"] == 10 and body["leader"] == "n1"
    assert set(body["nodes"][0]) == {
        "node", "role", "state", "timeline", "lsn", "lag_bytes", "lag_s", "sync", "lease_left_s", "near_misses",
        "least_lease_left_s", "seen_s", "host", "tags", "follows", "pending_restart", "postgres_version",
        "pgha_version", "alert", "problem",
    }  # fmt: skip


class _Clock:
    def now_s(self) -> float:
        return 100.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing to wait for")


class _DownStore:
    """Answers nothing, and knows its members."""

    def read(self, prefix: str, *, deadline_s: float) -> object:
        raise StoreDown("every member is silent")

    def health(self, *, deadline_s: float) -> StoreHealth:
        return StoreHealth(False, (MemberHealth("127.0.0.1:1", reachable=False),))


def test_a_silent_store_is_a_finding_not_an_exception() -> None:
    store: Store = _DownStore()  # type: ignore[assignment]  # two of the four verbs
    look = gather(store, _Clock(), "shop", timeout_s=0.1)
    found = judge(TARGET, look)
    assert look.down == "every member is silent" and found.exit == Exit.STORE
    assert [row.state for row in found.rows] == ["unknown"] * 3


def test_red_on_a_terminal_is_also_an_exclamation_mark() -> None:
    lines = render_list.lines(judge(TARGET, LOOKS["standby-silent"]), 120)
    assert [line[0] for line in lines[1:5]] == [" ", " ", " ", "!"]


def test_nothing_the_store_says_can_move_the_cursor() -> None:
    evil = replace(member("n2", problem="\x1b[2Jgone", state="str\x07eaming"))
    lines = render_list.lines(judge(TARGET, seen(evil)), 120)
    assert all(char.isprintable() for line in lines for char in line)


def test_builders_and_model_agree() -> None:
    key: Leader = leader()
    here: Member = member("n1")
    assert key.position == here.position == Position(3, LSN) and key.holder == Copy("n1", "d1")
