"""Classify: what a server that is cut off may do next: follow, be rewound, be cloned over, or stay as it is."""

from __future__ import annotations

import pytest

from pgha.core import classify as limits
from pgha.core.model import Position, Rule, Tenure
from pgha.core.server import Running
from pgha.core.situation import Path
from tests.core.builders import END, EPOCH, N1, N2, N3, but, key, measured, member, situation, standby

FORKED = key(N2, sync=(Rule(N2, frozenset({N3}), 1),), position=Position(EPOCH, END + 500), forks=((3, 100), (4, END)))


@pytest.mark.parametrize(
    ("timeline", "lsn", "expected"),
    [
        (4, END - 1, Path.FOLLOW),
        (4, END, Path.FOLLOW),
        (4, END + 1, Path.REWIND),
        (EPOCH, END + 500, Path.FOLLOW),
        (EPOCH, END + 501, Path.UNKNOWN),  # the key's position is up to K old
        (3, 100, Path.FOLLOW),
        (3, 101, Path.REWIND),
        (4, END + 501, Path.REWIND),
        (2, 1, Path.REWIND),
        (EPOCH + 1, 1, Path.REWIND),
    ],
)
def test_following_is_decided_by_the_fork(timeline: int, lsn: int, expected: Path) -> None:
    assert situation(measured(lsn, FORKED, timeline=timeline)).path is expected


def test_beyond_the_fork_one_rewind_is_tried_then_a_clone_and_nothing_before_the_first_checkpoint() -> None:
    obs = measured(END + 1, FORKED, timeline=4)
    assert situation(obs, store__leader__checkpointed=False).path is Path.UNKNOWN
    assert situation(obs, store__leader__checkpointed=False, rewound=1).path is Path.UNKNOWN
    assert situation(obs, rewound=0).path is Path.REWIND
    assert situation(obs, rewound=1).path is Path.CLONE


@pytest.mark.parametrize(
    "older", [Rule(N1, frozenset({N2, N3}), 1), Rule(N3, frozenset({N1, N2}), 1), Rule(N2, frozenset({N1, N3}), 1)],
    ids=["as its holder", "as a voter", "as a voter of the present holder"],
)  # fmt: skip
@pytest.mark.parametrize("rewound", [0, 1])
def test_a_directory_that_an_entry_names_is_neither_rewound_nor_cloned_over(older: Rule, rewound: int) -> None:
    obs = measured(END + 1, FORKED, timeline=4, rewound=rewound)
    last = FORKED.sync[-1]
    assert situation(obs, store__leader__sync=(older, last)).path is Path.NEEDED
    assert situation(obs, store__leader__sync=(last, older)).path is Path.NEEDED
    assert situation(obs, store__leader__sync=(last,)).path is not Path.NEEDED
    follows = measured(END, FORKED, timeline=4, store__leader__sync=(older, last))
    assert situation(follows).path is Path.FOLLOW


def test_under_strict_a_named_directory_is_rewound_once_no_other_voter_is_there() -> None:
    """Nobody but this copy could become the voter that lets the entry go (redteam 17)."""
    obs = measured(END + 1, FORKED, timeline=4, store__settings__durability="strict")
    obs = but(obs, store__leader__sync=(Rule(N1, frozenset({N2, N3}), 1), *FORKED.sync))
    assert obs.store is not None

    def with_standbys(**standbys: tuple[str, int]) -> Path:
        holder = member(N2, standbys=standbys)
        return situation(obs, store__members={**obs.store.members, "n2": holder}).path if obs.store else Path.UNKNOWN

    assert with_standbys(**{N3.standby_name(EPOCH): ("streaming", END)}) is Path.NEEDED
    assert with_standbys(**{N3.standby_name(EPOCH): ("catchup", END)}) is Path.REWIND
    assert with_standbys(**{N3.standby_name(EPOCH - 1): ("streaming", END)}) is Path.REWIND
    assert with_standbys() is Path.REWIND
    assert situation(obs, store__members={"n1": member(N1)}).path is Path.NEEDED, "the holder has not said who is there"


def test_nobody_is_followed_who_does_not_hold() -> None:
    assert situation(measured(END, key(N2, tenure=Tenure.RELEASED))).path is Path.UNKNOWN
    assert situation(measured(END, key(N2)), store__leader=None).path is Path.UNKNOWN


@pytest.mark.parametrize(
    ("timeline", "lsn", "expected"),
    [
        (4, END - 1, Path.FOLLOW),
        (4, END, Path.FOLLOW),
        (4, END + 1, Path.UNKNOWN),
        (3, END - 1, Path.UNKNOWN),  # where the claimant left it is told once it is promoted
        (EPOCH, 1, Path.UNKNOWN),
    ],
)
def test_who_claimed_is_followed_below_its_coming_fork(timeline: int, lsn: int, expected: Path) -> None:
    claimed = key(N2, tenure=Tenure.CLAIMED, position=Position(4, END))
    assert situation(measured(lsn, claimed, timeline=timeline)).path is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Path.FOLLOW),
        ({"store__leader": None}, Path.UNKNOWN),
        ({"store__leader__tenure": Tenure.CLAIMED}, Path.UNKNOWN),
        ({"store__leader__tenure": Tenure.RELEASED}, Path.UNKNOWN),
        ({"store__leader__epoch": EPOCH + 1, "store__leader__tenure": Tenure.CLAIMED}, Path.UNKNOWN),
        ({"store__leader__epoch": EPOCH + 1}, Path.CLONE),
        ({"server__job_failed": "no space"}, Path.CLONE),
        ({"server__wal_gone": True}, Path.CLONE),
        ({"failed_starts": limits.CATCH_UP_STARTS}, Path.FOLLOW),
        ({"failed_starts": limits.CATCH_UP_STARTS + 1}, Path.CLONE),
    ],
)
def test_a_rewound_directory_is_completed_by_its_source_alone(changes: dict[str, object], expected: Path) -> None:
    obs = standby(server__running=Running.DOWN, memory__catch_up=EPOCH)
    obs = but(obs, memory__catch_up_data=obs.copy.data if obs.copy else "")
    assert situation(obs, **changes).path is expected


def test_a_clone_made_of_a_rewound_directory_needs_no_completing() -> None:
    """Another data id: the note was about the directory before (simulator, F2)."""
    obs = standby(server__running=Running.DOWN, memory__catch_up=EPOCH, memory__catch_up_data="before")
    assert situation(obs).path is Path.UNKNOWN


def test_once_measured_a_rewound_directory_is_like_any_other() -> None:
    obs = measured(END, key(N2))
    data = obs.copy.data if obs.copy else ""
    assert situation(obs, memory__catch_up=EPOCH - 1, memory__catch_up_data=data).path is Path.FOLLOW
