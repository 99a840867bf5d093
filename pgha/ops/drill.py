"""`pgha drill`: a fault on a cluster, a client that never stops writing, and what that client saw.

The judge is a process of its own; this one inflicts the fault, takes it back once another primary writes, waits until
the cluster is whole, and tells what the judge says. May import status and switchover; what is outside comes as `Tools`.
"""

from __future__ import annotations

import getpass
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pgha.errors import PghaError, Refused, UsageError
from pgha.ops import drill_role, newdata, status, switchover
from pgha.ops.drill_ground import FAULTS, HOLD_SPARE_S, Fault, Ground, default_budget_s
from pgha.ops.drill_report import DrillReport, Round, from_verdict
from pgha.ops.status import Seen
from pgha.ops.target import Target, from_inventory
from pgha.ports import Clock, Store

if TYPE_CHECKING:
    from pgha.inventory import Inventory

LOOK_S = 0.1
HEALTHY_S = 15.0  # a switchover just before is no reason to refuse
HOLD_S = 2.0  # a fault lasts so long after another primary has acknowledged
WRITABLE_S = 60.0  # beyond H: until a new primary acknowledges
WHOLE_S = 120.0
ROWS = 20
FIRST_S = 20.0
SETTLE_S = 1.0  # of writing between two rounds, at least


class JudgeLink(Protocol):
    """The judge's process (pgha.adapters.local_judge.JudgeProcess)."""

    def now_s(self) -> float:
        """The judge's clock."""
        ...

    def order(self, do: str, *, within_s: float = 10.0, **fields: object) -> Mapping[str, object]:
        """One order, one reply."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What the drill needs of the outside. `ground`: where the nodes are; `judge` starts one for a task.

    random_bytes: for the password of the drill's role.
    """

    store: Store
    clock: Clock
    ground: Ground
    judge: Callable[[Mapping[str, object]], JudgeLink]
    random_bytes: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Options:
    """rounds: how often. seed: of the pauses between rounds. budget_s: of the outage, None for the fault's own.

    history: a file for all that the judge saw, "" for none. store_leader: kill-node on the node whose store member
    leads (True), on another one (False), or as it comes (None); the primary is moved there first.
    """

    rounds: int = 1
    seed: int = 0
    budget_s: float | None = None
    history: str = ""
    store_leader: bool | None = None


def check(fault: str, options: Options) -> Fault:
    """The fault. Raises UsageError when this drill can't be run anywhere; asks nobody."""
    if fault not in FAULTS:
        raise UsageError(f"there is no fault {fault!r}", f"faults: {', '.join(FAULTS)}")
    if options.rounds < 1:
        raise UsageError(f"--rounds {options.rounds} is less than 1")
    return FAULTS[fault]


def run(inventory: Inventory, fault: str, options: Options, tools: Tools, say: Callable[[str], None]) -> DrillReport:
    """Inflict `fault` again and again under a writing client; one line to `say` for each round.

    Raises UsageError, Refused (can't be made there, not healthy: nothing was changed), StoreUnreachable, Unreachable.
    What fails later is in the report, whose `exit` is 5 then. The drill's role and database are removed in the end.
    """
    wanted = check(fault, options)
    target = from_inventory(inventory, inventory.cluster)
    tools.ground.ready(fault)
    seen = _healthy(tools, target)
    drill = _Drill(target, wanted, options, tools, say)
    settings = seen.records.settings
    after_s = settings.failover_after_s if settings else inventory.ha.failover_after_s
    budget_s = options.budget_s if options.budget_s is not None else default_budget_s(fault, after_s)
    drill.patience_s = after_s + WRITABLE_S
    password = tools.random_bytes(24).hex()
    drill.make_role(_leader(seen), password)
    try:
        judge = tools.judge(drill.task(password))
        try:
            return drill.rounds(judge, budget_s)
        finally:
            judge.close()
    finally:
        drill.drop_role()


def _look(tools: Tools, target: Target) -> Seen:
    return status.gather(tools.store, tools.clock, target.cluster, timeout_s=2.0)


def _quiet(_what: str, _after_s: float) -> None:
    """The drill tells a switchover's phases to nobody."""


def _leader(seen: Seen) -> str:
    return seen.records.leader.holder.node if seen.records.leader else ""


def _epoch(seen: Seen) -> int:
    return seen.records.leader.epoch if seen.records.leader else 0


def _healthy(tools: Tools, target: Target) -> Seen:
    end = tools.clock.now_s() + HEALTHY_S
    while (found := status.judge(target, seen := _look(tools, target))).exit != 0 and tools.clock.now_s() < end:
        tools.clock.sleep(LOOK_S)
    if found.exit != 0:
        why = "; ".join((found.verdict, *found.notes))
        raise Refused("a drill begins with a healthy cluster", why, target.command("list"))
    return seen


@dataclass(slots=True)
class _Drill:
    target: Target
    fault: Fault
    options: Options
    tools: Tools
    say: Callable[[str], None]
    patience_s: float = WRITABLE_S

    # -- the drill's own role ------------------------------------------------------------------------------

    def make_role(self, primary: str, password: str) -> None:
        """Role, database and table, anew. Raises PghaError."""
        verifier = newdata.scram_verifier(password, self.tools.random_bytes(16))
        first, second = drill_role.make_sql(verifier)
        self.tools.ground.sql(primary, "postgres", first)
        self.tools.ground.sql(primary, drill_role.NAME, second)

    def drop_role(self) -> None:
        """Remove what make_role made; says so when it can't."""
        try:
            primary = _leader(_look(self.tools, self.target))
            self.tools.ground.sql(primary, "postgres", drill_role.drop_sql())
        except PghaError as e:
            self.say(f"the role and database {drill_role.NAME} are left: {e.because or e.what}")

    def task(self, password: str) -> dict[str, object]:
        """The judge's task."""
        nodes = [{"name": n.name, "host": n.host, "port": n.port} for n in self.target.nodes]
        login = {"user": drill_role.NAME, "password": password, "dbname": drill_role.NAME}
        return {"nodes": nodes, **login, "bound": self.target.tls, "history": self.options.history}

    # -- rounds --------------------------------------------------------------------------------------------

    def rounds(self, judge: JudgeLink, budget_s: float) -> DrillReport:
        """All rounds, then the judge's last word on all of them."""
        self._await_first(judge)
        judge.order("begin")
        done: list[Round] = []
        problem = ""
        try:
            for number in range(1, self.options.rounds + 1):
                done.append(self.round(judge, number))
                self.say(done[-1].line(self.options.rounds))
                self.tools.clock.sleep(SETTLE_S + self._chance(number))
        except PghaError as e:
            problem = ": ".join(part for part in (e.what, e.because) if part)
            self._take_all_back()
        except KeyboardInterrupt:
            problem = "interrupted"
            self._take_all_back()
        report = DrillReport(
            self.target.cluster, self.fault.name, budget_s, tuple(done), 0, 0, None, 0, 0, self.options.history, problem
        )
        return from_verdict(judge.order("end", within_s=60.0), report)

    def _await_first(self, judge: JudgeLink) -> None:
        """The client gets through. Raises PghaError with what it was told when it does not."""
        try:
            self._await(lambda: int(str(judge.order("status")["acked"])) >= ROWS, FIRST_S, "a client writes")
        except PghaError as e:
            problems = judge.order("status")["problems"]
            told = problems.items() if isinstance(problems, dict) else ()
            ports = "the client runs here and needs the nodes' PostgreSQL ports"
            raise Refused(e.what, "; ".join(f"{node}: {why}" for node, why in told) or ports, ports) from e

    def round(self, judge: JudgeLink, number: int) -> Round:
        """One fault, until the cluster is whole again. Raises PghaError when it is not in time."""
        self._place()
        before = _look(self.tools, self.target)
        source = _leader(before)
        stores = [m.endpoint for m in before.health.members if m.leader]
        led = self.tools.ground.leads_store(source, stores)
        begun_s = [self.tools.clock.now_s()]

        def begun() -> None:
            judge.order("fault", label=f"{self.fault.name} {number}", at_s=judge.now_s())
            begun_s[0] = self.tools.clock.now_s()

        self._inflict(source, before, begun)
        acked = self._await_writer(judge, _epoch(before))
        if self.fault.held:
            self.tools.clock.sleep(HOLD_S)
        if self.fault.name != "switchover":
            self.tools.ground.take_back(source)
        after = self._await_whole(before)
        whole_s = self.tools.clock.now_s() - begun_s[0]
        verdict = judge.order("verdict", within_s=60.0)
        faults, lost = verdict["faults"], verdict["lost"]
        assert isinstance(faults, list)
        return Round(
            number=number,
            source=source,
            target=str(acked["node"]),
            epoch=_epoch(after),
            outage_s=float(faults[-1]["outage_s"]),
            whole_s=whole_s,
            acked=int(str(verdict["acked"])),
            lost=None if lost is None else int(str(lost)),
            two_writers=int(str(verdict["two_writers"])),
            store_leader=led,
        )

    def _inflict(self, source: str, before: Seen, begun: Callable[[], None]) -> None:
        if self.fault.name == "switchover":
            begun()
            self._switch(before, None)
            return
        self.tools.ground.inflict(self.fault.name, source, self.patience_s + HOLD_SPARE_S, begun)

    def _switch(self, seen: Seen, to: str | None) -> None:
        store, clock = self.tools.store, self.tools.clock
        plan = switchover.plan(self.target, seen, to)
        asked = switchover.ask(store, clock, self.target, seen, plan, asked_by=f"drill of {getpass.getuser()}")
        switchover.watch(store, clock, self.target, asked, _quiet)

    def _place(self) -> None:
        """Move the primary to, or away from, the node whose store member leads, when that was asked for."""
        if self.options.store_leader is None or self.fault.name != "kill-node":
            return
        seen = _look(self.tools, self.target)
        stores = [m.endpoint for m in seen.health.members if m.leader]
        leading = [n.name for n in self.target.nodes if self.tools.ground.leads_store(n.name, stores)]
        here = _leader(seen) in leading
        if here == self.options.store_leader or not leading:
            return
        self._switch(seen, leading[0] if self.options.store_leader else None)
        self._await(lambda: self._is_whole(_epoch(seen) + 1, "", 0), WHOLE_S, "healthy after the move before the fault")

    def _await_writer(self, judge: JudgeLink, epoch: int) -> Mapping[str, object]:
        """Rows are acknowledged again: under a newer epoch where the fault moves the primary."""
        found = [judge.order("status")]
        enough = int(str(found[0]["acked"])) + ROWS

        def writes() -> bool:
            found[:] = [judge.order("status")]
            moved = int(str(found[0]["epoch"])) > epoch
            return moved if self.fault.moves else int(str(found[0]["acked"])) >= enough

        what = "a primary of a newer epoch acknowledges rows" if self.fault.moves else "rows are acknowledged again"
        self._await(writes, self.patience_s, what)
        return found[0]

    def _await_whole(self, before: Seen) -> Seen:
        """Healthy, under a newer epoch where one is due; the source has reported since now."""
        source = _leader(before)
        epoch = _epoch(before) + (1 if self.fault.moves else 0)
        reported = _look(self.tools, self.target).records.revisions.get(f"members/{source}", 0)
        try:
            self._await(lambda: self._is_whole(epoch, source, reported), WHOLE_S, "healthy again")
        except PghaError as e:
            found = status.judge(self.target, _look(self.tools, self.target))
            raise PghaError(e.what, "; ".join((found.sentence(), *found.notes)), e.next_step) from e
        return _look(self.tools, self.target)

    def _is_whole(self, epoch: int, source: str, reported: int) -> bool:
        """Healthy, under this epoch or a newer one; the record of `source` is newer than revision `reported`."""
        seen = _look(self.tools, self.target)
        if status.judge(self.target, seen).exit != 0 or _epoch(seen) < epoch:
            return False
        return not source or seen.records.revisions.get(f"members/{source}", 0) > reported

    def _await(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        clock = self.tools.clock
        end = clock.now_s() + within_s
        while not condition():
            if clock.now_s() > end:
                raise PghaError(f"not within {within_s:.0f} s: {what}", "", self.target.command("list"))
            clock.sleep(LOOK_S)

    def _take_all_back(self) -> None:
        """After a problem; what can't be reached the dead man's timer takes back."""
        if self.fault.name == "switchover":
            return
        for node in self.target.nodes:
            try:
                self.tools.ground.take_back(node.name)
            except PghaError as e:
                self.say(f"{node.name}: {self.fault.name} ends by itself within its timer: {e.what}: {e.because}")

    def _chance(self, number: int) -> float:
        """A pause of 0 to 1 s that follows from the seed, so that faults meet the heartbeats at any point."""
        digest = hashlib.sha256(f"{self.options.seed}/{number}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / (1 << 32)
