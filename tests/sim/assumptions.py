"""What the fakes take for granted about PostgreSQL and etcd. Each has an id that a line of a fake cites, and a test.

The test runs against the real one and carries `@pytest.mark.assumption("PG01")`. `tests/sim/test_assumptions.py` holds
the three together: an id that is cited and not tested, or tested and not cited, is an error.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Assumption:
    """untested: why no test shows it, where none does."""

    says: str
    untested: str = ""


ASSUMPTIONS: dict[str, Assumption] = {
    "PG01": Assumption("a walreceiver's first reply reports its own replay position as flushed, diverged or not"),
    "PG02": Assumption("an emptied primary_conninfo is a cut only once the startup process waits for its retry"),
    "PG03": Assumption("IDENTIFY_SYSTEM of a sealed standby is the end of its WAL, pg_last_wal_receive_lsn() is not"),
    "PG04": Assumption("from '' to names commits wait only when the checkpointer has adopted them, whatever SHOW says"),
    "PG05": Assumption("under a name that nobody has every walsender comes to sync_priority 0, and commits wait"),
    "PG06": Assumption("a promotion takes the first number above its own timeline without a history file"),
    "PG07": Assumption("a clone holds whatever files its source has: an identity kept inside comes along"),
    "PG08": Assumption("before 16, pg_rewind does nothing while its source has not checkpointed after its promotion"),
    "PG09": Assumption("after a change of names only a reply of a standby releases who waits"),
    "PG10": Assumption("a session in conflict with recovery holds up a promotion for as long as it lasts"),
    "PG11": Assumption("after a fast stop's checkpoint the postmaster stays until its standbys confirm, or time out"),
    "PG12": Assumption("a standby keeps the timeline that it aims at, when who opened it is gone, until its restart"),
    "PG13": Assumption("a walreceiver needs each history file from its timeline to its sender's: one missing stops it"),
    "PG14": Assumption("backends whose postmaster was killed go on and acknowledge commits"),
    "PG15": Assumption("names set to '' release who waits, as acknowledged"),
    "PG16": Assumption("who streams from a standby stays connected through its promotion, and goes on to its timeline"),
    "PG19": Assumption("a reply to a standby counts for nobody, and who has more than it waits there for it"),
    "PG17": Assumption(
        "a rewound directory may lack WAL of its source, and answers nobody before it has it",
        untested="only where the source writes between the copy of its WAL and the end: the fake takes it for the rule",
    ),
    "PG18": Assumption(
        "k is of the copy of the rule that the walsender has which got the reply; who counts each says for itself",
        untested="takes a debugger: SyncRepReleaseWaiters and SyncRepGetCandidateStandbys of 13, 15 and 18 say so",
    ),
    "ETCD01": Assumption("a commit without an answer was done or not, and a later read tells"),
    "ETCD02": Assumption("a guard holds for exactly the last revision of its key, 0 for an absent one"),
    "ETCD03": Assumption("the writes of a commit are done at one revision or not at all"),
    "ETCD04": Assumption("of many writers with one guard exactly one wins"),
    "ETCD05": Assumption("a delete of an absent key is done and moves no revision"),
    "ETCD06": Assumption("while a leader is elected nothing is answered, and then all goes on"),
    "ETCD07": Assumption("without quorum no call is answered"),
}
