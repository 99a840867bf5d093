"""`pgha upgrade`: a minor release of PostgreSQL on every node: standbys first, a switchover, the old primary last.

What is left to do is derived anew before each node from what it runs and has, so the same command goes on after an
interruption. May import core, records and its neighbours in ops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pgha.errors import Exit, PghaError, Refused, StoreUnreachable, UsageError
from pgha.ops import programs, restarting, status, switchover
from pgha.ops.node_orders import Desk
from pgha.ops.programs import Programs, Reach, numbers_of, release_of
from pgha.ops.rows import is_fresh, primary_of
from pgha.ops.status import Seen
from pgha.ops.target import Target
from pgha.ops.together import each

SETTLE_S = 15.0  # a node that the command's own predecessor restarts is waited for
COMES_S = 30.0
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Wish:
    """release: such as 15.20, "" for what is offered. packages: False: onto what is installed, nothing is brought."""

    release: str = ""
    packages: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One node: what it runs (its server's own word), what it has and could have."""

    node: str
    is_primary: bool
    running: str
    have: Programs

    @property
    def is_done(self) -> bool:
        """Neither its packages nor its server are of another version than they are to be."""
        return not self.have.is_behind and self.running == self.have.installed

    def steps(self, moves_to: str) -> str:
        """What is to be done, for reading."""
        if self.is_done:
            return "up to date"
        first = f"moves to {moves_to}, then " if self.is_primary and moves_to else ""
        return first + ("packages, restart" if self.have.is_behind else "restart")

    def as_dict(self, moves_to: str) -> dict[str, object]:
        """For JSON."""
        return {
            "node": self.node,
            "role": "primary" if self.is_primary else "standby",
            "running": self.running,
            "installed": self.have.installed,
            "coming": self.have.coming,
            "packages": {p.name: {"installed": p.installed, "candidate": p.candidate} for p in self.have.packages},
            "steps": self.steps(moves_to),
        }


COLUMNS = ("NODE", "ROLE", "RUNNING", "INSTALLED", "COMING", "STEPS")


@dataclass(frozen=True, slots=True)
class Plan:
    """rows: in the order of the work. moves_to: the switchover's target, "" when none is needed or possible."""

    rows: tuple[Row, ...]
    moves_to: str = ""

    @property
    def is_empty(self) -> bool:
        """Every node runs what it is to run."""
        return all(row.is_done for row in self.rows)

    def lines(self, cluster: str) -> list[str]:
        """What the operator reads before the question."""
        cells = [COLUMNS, *(_cells(row, self.moves_to) for row in self.rows)]
        sizes = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
        table = ["  ".join(w.ljust(n) for w, n in zip(line, sizes, strict=True)).rstrip() for line in cells]
        page = [f"plan: upgrade PostgreSQL to {', '.join(self.releases)}  (cluster {cluster})", *table]
        if self.is_empty:
            return page
        if self.moves_to:
            page.append(f"  writes pause once, for the switchover ({switchover.EXPECTED_OUTAGE})")
        elif any(row.is_primary and not row.is_done for row in self.rows):
            page.append("  there is no other node: writes stop until the server is back")
        return [*page, "  one node after another; the next one when all voters of before are back"]

    @property
    def releases(self) -> list[str]:
        """What the nodes will run."""
        return sorted({row.have.coming for row in self.rows}, key=numbers_of)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"moves_to": self.moves_to or None, "nodes": [row.as_dict(self.moves_to) for row in self.rows]}


def _cells(row: Row, moves_to: str) -> tuple[str, ...]:
    running, installed = row.running, row.have.installed
    same = release_of(running) == release_of(installed)  # builds of one release are told apart
    shown = (release_of(v) if not same or running == installed else v for v in (running, installed))
    coming = row.have.coming
    if row.have.is_behind and coming == release_of(installed):
        coming = row.have.packages[0].candidate
    return (row.node, "primary" if row.is_primary else "standby", *shown, coming, row.steps(moves_to))


def healthy(desk: Desk) -> Seen:
    """A look at a cluster that is whole; one that is not is given a moment. Raises StoreUnreachable, Refused."""
    end = desk.clock.now_s() + SETTLE_S
    while True:
        seen = desk.seen()
        found = status.judge(desk.target, seen)
        if found.exit == Exit.OK and not found.order:
            return seen
        if seen.down or found.paused or desk.clock.now_s() >= end:
            break
        desk.clock.sleep(LOOK_S)
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, desk.target.command("list"))
    switchover.refuse_paused(desk.target, seen)
    why = "; ".join([*found.notes, *([found.order] if found.order else [])]) or found.verdict
    step = found.next_step or desk.target.command("explain")
    raise Refused(f"the cluster is {found.verdict}: nothing is upgraded on one that is not whole", why, step)


def look(reaches: Mapping[str, Reach], wish: Wish) -> dict[str, Programs]:
    """All nodes at once. Raises PghaError, several as Findings."""

    def one(name: str, reach: Reach) -> Programs:
        found = reach.look(packages=wish.packages)
        try:
            return replace(found, packages=programs.chosen(found.packages, wish.release))
        except LookupError as e:
            raise Refused(f"{name} can't have PostgreSQL {wish.release}", str(e)) from e

    return each(reaches, one)


def plan(target: Target, seen: Seen, have: Mapping[str, Programs], wish: Wish) -> Plan:
    """What would be done on a healthy cluster. Raises Refused, UsageError."""
    primary, members = primary_of(seen), seen.records.members
    assert primary is not None
    rows = [
        Row(name, name == primary.node, members[name].postgres if name in members else "", found)
        for name, found in have.items()
    ]
    rows.sort(key=lambda row: (row.is_primary, row.node))
    for row in rows:
        _check(target, row, wish)
    release = {row.node: row.have.packages[0].candidate for row in rows if row.have.packages}
    if len(set(release.values())) > 1:
        why = ", ".join(f"{name} {version}" for name, version in release.items())
        step = "bring their package sources into line, or name a release that all have: --to"
        raise Refused("the nodes are offered different versions", why, step)
    last = rows[-1]
    moves = not last.is_done and len(members) > 1
    return Plan(tuple(rows), switchover.plan(target, seen, None).target if moves else "")


def _check(target: Target, row: Row, wish: Wish) -> None:
    """Raises Refused, UsageError."""
    runs, has, gets = (numbers_of(v) for v in (row.running, row.have.installed, row.have.coming))
    wanted = wish.release and numbers_of(wish.release)
    if not row.running:
        raise Refused(f"{row.node} does not say which PostgreSQL it runs", "silent", target.command("list"))
    if any(v and v[0] != runs[0] for v in (has, gets, wanted)):
        other = next(v for v in (wanted, gets, has) if v and v[0] != runs[0])
        why = f"{row.node} runs {release_of(row.running)}; {other[0]} needs its data converted (pg_upgrade)"
        raise UsageError("another major release is no minor upgrade", why)
    if gets < runs or gets < has:
        why = f"it runs {release_of(row.running)}, has {release_of(row.have.installed)}, would get {row.have.coming}"
        raise Refused(f"{row.node} would go back to an older release", why, target.command("upgrade --help"))
    if wanted and gets != wanted:
        step = "install it there yourself, then: " + target.command("upgrade")
        raise Refused(f"{row.node} is not offered {wish.release}", f"it has {row.have.installed}, of no package", step)


@dataclass(slots=True)
class _Work:
    """One run. done: node to the seconds it took; a switchover counts for nobody."""

    desk: Desk
    reaches: Mapping[str, Reach]
    have: dict[str, Programs]
    began: float
    done: dict[str, float]

    def tell(self, text: str) -> None:
        self.desk.tell(text, self.desk.clock.now_s() - self.began)

    @property
    def told(self) -> Desk:
        """The desk for single orders: what they tell has the times of the whole."""
        return replace(self.desk, tell=lambda text, _at: self.tell(text))

    def left(self, seen: Seen) -> list[str]:
        """Nodes that are not done yet, standbys before the primary."""
        primary, members = primary_of(seen), seen.records.members
        rows = [Row(n, primary is not None and n == primary.node, members[n].postgres, p) for n, p in self.have.items()]
        return [row.node for row in sorted(rows, key=lambda r: (r.is_primary, r.node)) if not row.is_done]

    def packages(self, name: str) -> None:
        """Installed and looked at."""
        behind = [package for package in self.have[name].packages if package.is_behind]
        if not behind:
            return
        wanted = self.have[name].coming
        more = f" and {len(behind) - 1} more of its packages" if behind[1:] else ""
        self.tell(f"{name}: installing {behind[0].name} {behind[0].candidate}{more}")
        self.reaches[name].bring(behind)
        found = self.reaches[name].look(packages=False)
        if release_of(found.installed) != wanted:
            why = f"its server's program says {found.installed}"
            raise Refused(f"{name} has not got PostgreSQL {wanted}", why, self.desk.target.command("upgrade --dry-run"))
        self.have[name] = found

    def turn(self, name: str, *, is_primary: bool) -> None:
        """Its packages, then its server."""
        begun = self.desk.clock.now_s()
        self.packages(name)
        seen = self.desk.seen()
        if seen.records.members[name].postgres != self.have[name].installed:
            steps = restarting.Plan((), name) if is_primary else restarting.Plan((name,))
            restarting.run(self.told, steps)
        self.await_word(name)
        self.done[name] = self.desk.clock.now_s() - begun
        self.tell(f"{name}: runs {self.have[name].installed}")

    def await_word(self, name: str) -> None:
        """Until its server itself says so. Raises PghaError."""
        end, wanted = self.desk.clock.now_s() + COMES_S, self.have[name].installed
        while True:
            seen = self.desk.seen()
            member = seen.records.members.get(name)
            if member is not None and is_fresh(member, seen.at) and member.postgres == wanted:
                return
            if self.desk.clock.now_s() >= end:
                why = f"it says {member.postgres if member else 'nothing'} {COMES_S:g} s after its restart"
                raise PghaError(f"{name} does not run {wanted}", why, self.desk.target.command("logs " + name))
            self.desk.clock.sleep(LOOK_S)

    def move(self, seen: Seen) -> None:
        """The primary to a node that is done already."""
        chosen = switchover.plan(self.desk.target, seen, None)
        self.tell(f"{chosen.source}: the primary moves to {chosen.target}")
        desk = self.told
        asked = switchover.ask(desk.store, desk.clock, desk.target, seen, chosen, asked_by=desk.asked_by)
        restarting.followed(desk, asked)
        restarting.await_voters(desk, seen)


def run(desk: Desk, reaches: Mapping[str, Reach], have: Mapping[str, Programs]) -> dict[str, float]:
    """To the end; for each node that was worked on the seconds it took. Raises PghaError (PARTIAL once one is done)."""
    work = _Work(desk, reaches, dict(have), desk.clock.now_s(), {})
    try:
        _all(work)
    except PghaError as e:
        if not work.done or e.code == Exit.INTERRUPTED:
            raise
        what = f"upgraded: {', '.join(work.done)}; then: {e.what}"
        raise PghaError(what, e.because, e.next_step or desk.target.command("upgrade"), code=Exit.PARTIAL) from e
    except KeyboardInterrupt:
        step = desk.target.command("upgrade")
        done = f"upgraded: {', '.join(work.done) or 'nobody yet'}; what apt has begun it ends"
        raise PghaError("interrupted", done, step + " goes on there", code=Exit.INTERRUPTED) from None
    return work.done


def _all(work: _Work) -> None:
    moves = 0
    while True:
        seen = healthy(work.desk)
        left, primary = work.left(seen), primary_of(seen)
        if not left or primary is None:
            return
        if left[0] in work.done:
            raise PghaError(f"{left[0]} is back at another version", "somebody else changes it", "look there")
        is_primary = left[0] == primary.node
        if is_primary and len(seen.records.members) > 1:
            moves += 1
            if moves > len(work.have):
                raise PghaError("the primary does not stay where it was moved", "", work.desk.target.command("history"))
            work.move(seen)
        else:
            work.turn(left[0], is_primary=is_primary)
