"""Cover, against a deliberately dumb oracle: try every world the seals allow, look for a commit that would be lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product
from random import Random

import pytest

from pgha.core.cover import Candidate, Path, best, claim_rule, covered, missing, path
from pgha.core.model import Copy, Position, Rule, Seal

REV = 7
NODES = [Copy(f"n{i}", f"d{i}") for i in range(5)]
ME = NODES[0]
HERE = Position(1, 2)
BELOW, ABOVE, ABOVE_ELSEWHERE = Position(1, 1), Position(1, 3), Position(2, 5)
SEALED_AT = (None, BELOW, HERE, ABOVE, ABOVE_ELSEWHERE)
# Where an unsealed node may be: behind, ahead on this timeline, or on one nobody has heard of.
UNKNOWN_AT = (BELOW, ABOVE, Position(3, 1))
BEYOND = Position(9, 1)  # what nobody has any more

Places = dict[Copy, Position]


def seal(copy: Copy, position: Position = HERE, revision: int = REV) -> Seal:
    return Seal(revision, copy, position)


def rule(holder: Copy, *voters: Copy, k: int = 1) -> Rule:
    return Rule(holder, frozenset(voters), k if voters else 0)


def all_rules(nodes: Sequence[Copy]) -> list[Rule]:
    found = []
    for holder in nodes:
        others = [n for n in nodes if n != holder]
        for size in range(len(others) + 1):
            for chosen in combinations(others, size):
                found += [Rule(holder, frozenset(chosen), k) for k in (range(1, size + 1) if size else (0,))]
    return found


# -- the oracle: worlds -----------------------------------------------------------------------------------------------
def followers_of(holder: Copy, sync: Sequence[Rule]) -> set[Copy]:
    return {v for r in sync if r.holder == holder for v in r.voters}


def ahead(follower: Copy, holder: Copy, where: Places) -> bool:
    """Ahead of its source on the source's timeline: a primary sends only what it has flushed, so this can't be."""
    a, b = where.get(follower), where.get(holder)
    return a is not None and b is not None and a.timeline == b.timeline and a > b


def worlds(nodes: Sequence[Copy], sealed: Places, sync: Sequence[Rule], broken: set[Copy]) -> Iterator[Places]:
    """Every placing of the unsealed nodes that obeys the law above, except around disks known to be broken."""
    unsealed = [n for n in nodes if n not in sealed]
    for places in product(UNKNOWN_AT, repeat=len(unsealed)):
        where = sealed | dict(zip(unsealed, places, strict=True))
        holders = {r.holder for r in sync} - broken
        if not any(ahead(v, h, where) for h in holders for v in followers_of(h, sync)):
            yield where


def may_lose(nodes: Sequence[Copy], sealed: Places, sync: Sequence[Rule]) -> bool:
    """Is there a world in which a commit acknowledged under some rule lies above ME?

    Acknowledged: its holder and k voters flushed it. Every later holder had cover, so it holds it as well. A disk that
    went back, which shows when a sealed follower is ahead of it, says nothing of what it once held.
    """
    broken = {r.holder for r in sync if any(ahead(v, r.holder, sealed) for v in followers_of(r.holder, sync))}
    for where in worlds(nodes, sealed, sync, broken):
        for i, entry in enumerate(sync):
            witnesses = [h for h in (entry.holder, *(r.holder for r in sync[i:])) if h not in broken]
            for commit in {*where.values(), BEYOND}:
                if commit <= where[ME] or any(where[h] < commit for h in witnesses):
                    continue
                if any(all(where[v] >= commit for v in acks) for acks in combinations(sorted(entry.voters), entry.k)):
                    return True
    return False


def agree(nodes: Sequence[Copy], sealed: Places, sync: tuple[Rule, ...]) -> bool:
    """Compare, and say what cover said."""
    answer = covered(seal(ME), [seal(copy, position) for copy, position in sealed.items()], sync)
    assert answer is not may_lose(nodes, sealed, sync), f"covered: {answer}, sealed {sealed}, sync {sync}"
    return answer


def sealings(nodes: Sequence[Copy]) -> list[Places]:
    found = []
    for places in product(SEALED_AT, repeat=len(nodes) - 1):
        others = {n: p for n, p in zip(nodes[1:], places, strict=True) if p is not None}
        found.append({ME: HERE} | others)
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_for_every_rule_and_every_set_of_seals_cover_is_what_no_world_contradicts(n: int) -> None:
    nodes = NODES[:n]
    answers = {agree(nodes, sealed, (entry,)) for entry in all_rules(nodes) for sealed in sealings(nodes)}
    assert answers == ({True} if n == 1 else {True, False})


@pytest.mark.parametrize("n", [2, 3])
def test_the_same_for_every_pair_of_entries(n: int) -> None:
    nodes = NODES[:n]
    for pair in product(all_rules(nodes), repeat=2):
        for sealed in sealings(nodes):
            agree(nodes, sealed, pair)


def test_the_same_for_sampled_lists_of_up_to_four_entries_on_five_nodes() -> None:
    random = Random(20261123)
    rules, cases = all_rules(NODES), sealings(NODES)
    answers = [agree(NODES, random.choice(cases), tuple(random.choices(rules, k=1 + i % 4))) for i in range(10000)]
    assert 1000 < sum(answers) < 9000  # both answers are well represented


# -- what the oracle does not speak of ---------------------------------------------------------------------------------
A, B, C, D = NODES[:4]


def test_an_empty_sync_asks_for_nothing() -> None:
    assert covered(seal(A), [], ())


def test_a_seal_of_another_revision_never_counts() -> None:
    sync = (rule(D, A, B, k=1),)
    assert covered(seal(A), [seal(B)], sync)
    assert not covered(seal(A), [seal(B, revision=REV - 1), seal(B, revision=REV + 1)], sync)


def test_a_copy_listed_twice_counts_once() -> None:
    sync = (rule(D, A, B, C, k=1),)
    assert not covered(seal(A), [seal(A), seal(B), seal(B)], sync)
    assert covered(seal(A), [seal(A), seal(B), seal(C)], sync)


def test_of_a_copy_listed_twice_the_highest_seal_counts() -> None:
    sync = (rule(D, A, B, k=1),)
    assert not covered(seal(A), [seal(B, ABOVE), seal(B, BELOW)], sync)
    assert not covered(seal(A), [seal(B, BELOW), seal(B, ABOVE)], sync)


def test_another_directory_of_the_same_node_does_not_count() -> None:
    assert not covered(seal(A), [seal(replace(B, data="new"))], (rule(D, A, B, k=1),))


def test_the_holder_of_a_later_entry_covers_the_earlier_ones_and_not_the_other_way_round() -> None:
    assert covered(seal(A), [], (rule(D, B, C, k=1), rule(A, B)))
    assert not covered(seal(A), [], (rule(A, B), rule(D, B, C, k=1)))


def test_a_holder_whose_voter_sealed_above_it_on_its_timeline_covers_nothing() -> None:
    sync = (rule(A, B, C, k=1), rule(A, C))
    assert covered(seal(A), [], sync)
    assert not covered(seal(A), [seal(B, ABOVE)], sync)
    assert covered(seal(A), [seal(B, ABOVE_ELSEWHERE)], sync)  # it follows somebody else by now
    # the voter that is ahead has cover once nobody is left who could know more
    assert covered(seal(B, ABOVE), [seal(A), seal(C)], sync)
    assert not covered(seal(B, ABOVE), [seal(A)], sync)


def test_missing_names_the_entry_its_arithmetic_and_who_would_help() -> None:
    first, second = rule(D, A, B, C, k=1), rule(C, B)
    found = missing(seal(A), [seal(D, ABOVE)], (first, second, rule(A)))
    assert found == ()
    (one, two) = missing(seal(A), [seal(D, ABOVE)], (first, second))
    assert (one.rule, one.have, one.need, one.absent) == (first, 1, 3, (B, C))
    assert (two.rule, two.have, two.need, two.absent) == (second, 0, 1, (B, C))


def test_missing_says_that_only_the_holder_can_reach_an_entry_without_voters() -> None:
    (only,) = missing(seal(A), [seal(B)], (rule(D),))
    assert (only.have, only.need, only.absent) == (0, 1, (D,))


def candidate(name: str, position: Position = HERE, priority: int = 0, behind: int = 0) -> Candidate:
    return Candidate(seal(Copy(name, "d"), position), priority, name, replay_behind=behind)


def test_the_best_candidate_is_the_furthest_the_holder_the_readiest_the_preferred_or_the_first_by_name() -> None:
    order = [
        candidate("z", ABOVE_ELSEWHERE, behind=9),
        candidate("y", ABOVE, behind=8),
        replace(candidate("zz", behind=9), holds=True),
        candidate("x", priority=0, behind=0),
        candidate("v", priority=5, behind=1),
        candidate("a", priority=1, behind=1),
        candidate("b", priority=1, behind=1),
    ]
    for i, winner in enumerate(order):
        assert best(reversed(order[i:])) == winner


def test_a_barred_candidate_never_wins() -> None:
    barred = replace(candidate("a", ABOVE), barred=True)
    assert best([barred, candidate("b")]) == candidate("b")
    assert best([barred]) is None
    assert best([]) is None


def test_a_claims_rule_names_those_whose_seals_it_counted_and_nobody_else() -> None:
    seals = [seal(A), seal(B), seal(C, BELOW), seal(D, ABOVE), seal(NODES[4], revision=REV - 1)]
    assert claim_rule(seal(A), seals, 0) == Rule(A, frozenset({B, C}), 1)
    assert claim_rule(seal(A), seals, 2) == Rule(A, frozenset({B, C}), 2)
    assert claim_rule(seal(A), seals, 5) == Rule(A, frozenset({B, C}), 2)
    assert claim_rule(seal(A), [], 2) == Rule(A, frozenset(), 0)
    assert claim_rule(seal(A), [seal(B)], 0, [A, C]) == Rule(A, frozenset({B, C}), 1), "who is expected, never oneself"


def test_who_took_over_with_cover_is_covered_by_its_own_claim() -> None:
    claim = claim_rule(seal(A), [seal(B)], 0)
    later = seal(A, revision=REV + 1)
    assert covered(later, [], (rule(D, A, B, k=1), claim))


FORKS = ((1, 100), (3, 200))


@pytest.mark.parametrize(
    ("timeline", "lsn", "expected"),
    [
        (5, 300, Path.FOLLOW),
        (5, 301, Path.DIVERGED),
        (3, 200, Path.FOLLOW),
        (3, 201, Path.DIVERGED),
        (1, 100, Path.FOLLOW),
        (1, 101, Path.DIVERGED),
        (2, 50, Path.DIVERGED),  # between the forks, but no ancestor
        (6, 1, Path.DIVERGED),  # newer than the holder's
        (0, 0, Path.DIVERGED),  # an empty directory
    ],
)
def test_a_server_may_follow_only_from_a_position_on_the_holders_history(
    timeline: int, lsn: int, expected: Path
) -> None:
    assert path(Position(timeline, lsn), 5, 300, FORKS) is expected


def test_of_two_forks_of_one_timeline_the_lower_binds() -> None:
    assert path(Position(1, 90), 5, 300, ((1, 80), (1, 100))) is Path.DIVERGED
