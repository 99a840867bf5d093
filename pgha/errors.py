"""Errors an operator reads: what happened, why, what to do next, and the exit code.

May import nothing of pgha. Every expected failure is a `PghaError`; anything else is a bug (exit code 1).
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command (design, section 10)."""

    OK = 0
    BUG = 1
    USAGE = 2
    DECLINED = 3
    REFUSED = 4
    ROLLED_BACK = 5
    UNKNOWN = 6
    PARTIAL = 7
    UNREACHABLE = 8
    STORE = 9
    DEGRADED = 10
    NO_PRIMARY = 11
    WOULD_LOSE = 12
    BUSY = 13
    INTERRUPTED = 130


class PghaError(Exception):
    """An expected failure.

    what: what happened, in the operator's words, lower case, without a full stop.
    because: why, with the number and its limit.
    next_step: one command or action that can be pasted.
    """

    code = Exit.REFUSED

    def __init__(self, what: str, because: str = "", next_step: str = "", *, code: Exit | None = None) -> None:
        super().__init__(what)
        self.what, self.because, self.next_step = what, because, next_step
        if code is not None:
            self.code = code

    def lines(self) -> list[str]:
        """The error form: `error:`, `because:`, `next:`; empty parts are left out."""
        parts = (("error", self.what), ("because", self.because), ("next", self.next_step))
        return [f"{label}: {text}" for label, text in parts if text]


class UsageError(PghaError):
    """A bad flag, or a bad inventory (file:line:column)."""

    code = Exit.USAGE


class Refused(PghaError):
    """A precondition does not hold; nothing was changed."""

    code = Exit.REFUSED


class RolledBack(PghaError):
    """Started, failed, and put back as it was."""

    code = Exit.ROLLED_BACK


class OutcomeUnknown(PghaError):
    """It may or may not have happened; `next_step` says how to find out."""

    code = Exit.UNKNOWN


class Unreachable(PghaError):
    """A host or server could not be reached."""

    code = Exit.UNREACHABLE


class StoreUnreachable(PghaError):
    """The store gave no linearizable answer within the deadline."""

    code = Exit.STORE


class Busy(PghaError):
    """Another operation is at work."""

    code = Exit.BUSY


class Findings(PghaError):
    """Several problems found in one pass, all of them shown.

    The exit code is that of the gravest: usage before unreachable before refused (design, section 10).
    """

    def __init__(self, problems: list[PghaError]) -> None:
        if not problems:
            raise ValueError("no problems to report")
        gravity = [Exit.USAGE, Exit.UNREACHABLE, Exit.STORE, Exit.REFUSED]
        ranked = sorted(problems, key=lambda p: gravity.index(p.code) if p.code in gravity else len(gravity))
        super().__init__(f"{len(problems)} problems found", code=ranked[0].code)
        self.problems = problems

    def lines(self) -> list[str]:
        """Each problem in the error form, one after another."""
        return [line for problem in self.problems for line in problem.lines()]
