"""Classify over any observation: total, blind to clock settings and names, never made bolder by junk or by age."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from pgha.core.classify import classify
from pgha.core.decide import choose
from pgha.core.model import Copy, Member, Position, Seal, Tenure
from pgha.core.observation import Observation
from pgha.core.situation import Bid, Holder, Store
from tests.core.builders import EPOCH, N2, REV, but, key, observations, primary, renamed, seal, sealed, shifted, standby

NAMES = {"n1": "alpha", "n2": "beta", "n3": "gamma", "n9": "omega"}
SIXTEENTHS = st.integers(0, 64 * 16).map(lambda n: n / 16)
OVER = {Holder.MINE_EXPIRED}
LATE = {Holder.MINE_LATE, *OVER}
LATER = {  # what one's own hold may become by itself
    Holder.MINE_CLAIMED: {Holder.MINE_CLAIMED, *LATE},
    Holder.MINE_HELD: {Holder.MINE_HELD, *LATE},
    Holder.MINE_LATE: LATE,
    Holder.MINE_EXPIRED: OVER,
}
GOOD = (Bid.COVERED, Bid.YIELDING)  # the seals cover


@given(observations())
@example(standby())
@example(primary())
def test_every_observation_is_one_situation_and_has_one_rule(obs: Observation) -> None:
    assert choose(classify(obs)).ident == choose(classify(obs)).ident


@given(observations(), st.integers(-500, 100_000))
@example(primary(), 4_000_000)
def test_nobodys_clock_setting_changes_a_situation(obs: Observation, by_s: int) -> None:
    assert classify(shifted(obs, by_s)) == classify(obs)


@given(observations())
@example(sealed(1000, key(N2, tenure=Tenure.RELEASED, target="n2")))
def test_nobodys_name_changes_a_situation(obs: Observation) -> None:
    other = renamed(obs, NAMES)
    assert other.me == "alpha"
    assert classify(other) == classify(obs)


@given(observations(), SIXTEENTHS)
def test_a_lease_and_a_read_only_get_older(obs: Observation, later_s: float) -> None:
    before, after = classify(obs), classify(replace(obs, now_s=obs.now_s + later_s))
    assert after.store in (before.store, Store.SILENT)
    assert after.holder in LATER.get(before.holder, {before.holder}), "silence is counted from read to read"


@given(observations(), SIXTEENTHS)
def test_a_key_seen_earlier_is_never_less_silent(obs: Observation, earlier_s: float) -> None:
    before, after = classify(obs).holder, classify(replace(obs, key_seen_s=obs.key_seen_s - earlier_s)).holder
    assert after in (before, Holder.SILENT)


JUNK = st.builds(
    Seal,
    st.integers(0, 100),
    st.builds(Copy, st.sampled_from(["n1", "n2", "n3", "n7"]), st.sampled_from(["d1", "d2", "d3", "old"])),
    st.builds(Position, st.integers(0, EPOCH + 1), st.integers(0, 2000)),
).filter(lambda s: s.revision != REV or s.copy not in (Copy("n1", "d1"), Copy("n2", "d2"), Copy("n3", "d3")))


@given(observations(), JUNK, st.sampled_from(["n3", "n7"]))
@example(sealed(1000, key(N2, tenure=Tenure.RELEASED)), seal(Copy("n3", "d3"), revision=REV - 1), "n3")
def test_a_seal_of_another_revision_or_of_a_copy_nobody_counts_never_helps(
    obs: Observation, junk: Seal, where: str
) -> None:
    if obs.store is None:
        return
    without = _member(obs, where, None)
    with_junk = _member(obs, where, junk)
    if classify(without).bid not in GOOD:
        assert classify(with_junk).bid not in GOOD


def _member(obs: Observation, name: str, sealed_as: Seal | None) -> Observation:
    assert obs.store is not None
    there = Member(name, "life", 1, "127.0.0.1", 1, data="d", seal=sealed_as)
    return but(obs, store__members={**obs.store.members, name: there})
