"""`pgha drill`: a fault on a local cluster, a client that never stops writing, and what that client saw.

The judge is a process of its own; this one inflicts the fault, waits until the cluster is whole, and prints what the
judge says. May import the operations on local nodes, status and switchover; everything outside comes as `Tools`.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pgha.errors import PghaError, Refused, UsageError
from pgha.host import Host
from pgha.ops import drill_faults, drill_role, local_nodes, newdata, status, switchover
from pgha.ops.drill_report import DrillReport, Round, from_verdict
from pgha.ops.local_nodes import LocalNode
from pgha.ops.status import Seen
from pgha.ops.target import Target, from_inventory
from pgha.ports import Clock, Store

if TYPE_CHECKING:
    from pgha.inventory import Inventory

FAULTS = ("switchover", "kill-postgres", "kill-node")
LOOK_S = 0.1
WRITABLE_S = 60.0  # beyond H: until a new primary acknowledges
WHOLE_S = 120.0
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
    """What the drill needs of the outside. `host` runs programs as the nodes' user; `judge` starts one for a task.

    random_bytes: for the password of the drill's role.
    """

    store: Store
    clock: Clock
    host: Host
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


def default_budget_s(fault: str, failover_after_s: float) -> float:
    """What the outage may be when nothing was said: a planned move, a crash, or H and what follows it."""
    return {"switchover": 1.0, "kill-postgres": 1.5}.get(fault, failover_after_s + 1.0)


def check(inventory: Inventory, fault: str, options: Options) -> None:
    """Raises UsageError or Refused when this drill can't be run at all; asks nobody."""
    if fault not in FAULTS:
        raise UsageError(f"there is no fault {fault!r}", f"faults: {', '.join(FAULTS)}")
    if options.rounds < 1:
        raise UsageError(f"--rounds {options.rounds} is less than 1")
    if inventory.local is None:
        why = f"{inventory.cluster} runs on hosts; the drill ends processes of this machine only"
        raise Refused("the drill needs a local cluster", why, "pgha demo up, then pgha drill there")


def run(inventory: Inventory, fault: str, options: Options, tools: Tools, say: Callable[[str], None]) -> DrillReport:
    """Inflict `fault` again and again under a writing client; one line to `say` for each round.

    Raises UsageError, Refused (not local, not healthy: nothing was changed), StoreUnreachable. What fails later is in
    the report, whose `exit` is 5 then. The drill's role and database are removed in the end.
    """
    check(inventory, fault, options)
    target = from_inventory(inventory, inventory.cluster)
    seen = _healthy(tools, target)
    drill = _Drill(target, {n.name: n for n in local_nodes.load(inventory)}, fault, options, tools, say)
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
    seen = _look(tools, target)
    found = status.judge(target, seen)
    if found.exit != 0:
        why = "; ".join((found.verdict, *found.notes))
        raise Refused("a drill begins with a healthy cluster", why, target.command("list"))
    return seen


@dataclass(slots=True)
class _Drill:
    target: Target
    nodes: Mapping[str, LocalNode]
    fault: str
    options: Options
    tools: Tools
    say: Callable[[str], None]
    patience_s: float = WRITABLE_S

    # -- the drill's own role ------------------------------------------------------------------------------

    def make_role(self, primary: str, password: str) -> None:
        """Role, database and table, anew. Raises PghaError."""
        verifier = newdata.scram_verifier(password, self.tools.random_bytes(16))
        first, second = drill_role.make_sql(verifier)
        self._sql(primary, "postgres", first)
        self._sql(primary, drill_role.NAME, second)

    def drop_role(self) -> None:
        """Remove what make_role made; says so when it can't."""
        try:
            self._sql(_leader(_look(self.tools, self.target)), "postgres", drill_role.drop_sql())
        except PghaError as e:
            self.say(f"the role and database {drill_role.NAME} are left: {e.because or e.what}")

    def _sql(self, node: str, dbname: str, statements: list[str]) -> None:
        local = self.nodes.get(node)
        if local is None:
            raise PghaError("the drill's role can't be changed", f"no primary is known, or {node!r} is not local")
        order = {"host": local.socket_dir, "port": local.port, "user": "postgres", "dbname": dbname}
        text = json.dumps({**order, "statements": statements})
        ran = self.tools.host.run([sys.executable, "-m", "pgha.ops.sql_main"], timeout_s=30.0, stdin=text)
        if not ran.ok:
            reply = json.loads(ran.out) if ran.out.startswith("{") else {}
            why = str(reply.get("problem", "")) or ran.tail()
            raise PghaError(f"{local.name} did not take the drill's role", why, self.target.command("list"))

    def task(self, password: str) -> dict[str, object]:
        """The judge's task."""
        nodes = [{"name": n.name, "host": n.host, "port": n.port} for n in self.nodes.values()]
        login = {"user": drill_role.NAME, "password": password, "dbname": drill_role.NAME}
        return {"nodes": nodes, **login, "history": self.options.history}

    # -- rounds --------------------------------------------------------------------------------------------

    def rounds(self, judge: JudgeLink, budget_s: float) -> DrillReport:
        """All rounds, then the judge's last word on all of them."""
        self._await(lambda: int(str(judge.order("status")["acked"])) >= 20, 20.0, "the first rows are acknowledged")
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
            self._let_all_up()
        except KeyboardInterrupt:
            problem = "interrupted"
            self._let_all_up()
        report = DrillReport(
            self.target.cluster, self.fault, budget_s, tuple(done), 0, 0, None, 0, 0, self.options.history, problem
        )
        return from_verdict(judge.order("end", within_s=60.0), report)

    def round(self, judge: JudgeLink, number: int) -> Round:
        """One fault, until the cluster is whole again. Raises PghaError when it is not in time."""
        self._place()
        before = _look(self.tools, self.target)
        source = _leader(before)
        stores = {m.endpoint for m in before.health.members if m.leader}
        local = self.nodes[source]
        led = local.has_etcd and any(e.endswith(f":{local.etcd_client_port}") for e in stores)
        incarnation = before.records.members[source].incarnation
        at_s = judge.now_s()
        judge.order("fault", label=f"{self.fault} {number}", at_s=at_s)
        at_s = self._inflict(local, before)
        acked = self._await_writer(judge, _epoch(before))
        if self.fault == "kill-node":
            drill_faults.start_node(local, self.tools.host)
        after = self._await_whole(before, incarnation if self.fault == "kill-node" else "")
        whole_s = self.tools.clock.now_s() - at_s
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

    def _inflict(self, local: LocalNode, before: Seen) -> float:
        """Do it; gives when it was begun, on the drill's clock."""
        at_s = self.tools.clock.now_s()
        if self.fault == "kill-postgres":
            drill_faults.kill_postgres(local)
        elif self.fault == "kill-node":
            drill_faults.kill_node(local, self.tools.clock)
        else:
            self._switch(before, None)
        return at_s

    def _switch(self, seen: Seen, to: str | None) -> None:
        store, clock = self.tools.store, self.tools.clock
        plan = switchover.plan(self.target, seen, to)
        asked = switchover.ask(store, clock, self.target, seen, plan, asked_by=f"drill of {getpass.getuser()}")
        switchover.watch(store, clock, self.target, asked, _quiet)

    def _place(self) -> None:
        """Move the primary to, or away from, the node whose store member leads, when that was asked for."""
        if self.options.store_leader is None or self.fault != "kill-node":
            return
        seen = _look(self.tools, self.target)
        ports = {int(m.endpoint.rpartition(":")[2]) for m in seen.health.members if m.leader}
        leading = [n.name for n in self.nodes.values() if n.etcd_client_port in ports]
        here = _leader(seen) in leading
        if here == self.options.store_leader or not leading:
            return
        epoch = _epoch(seen)
        self._switch(seen, leading[0] if self.options.store_leader else None)
        self._await(lambda: self._is_whole(epoch, ""), WHOLE_S, "healthy after the move before the fault")

    def _await_writer(self, judge: JudgeLink, epoch: int) -> Mapping[str, object]:
        found: list[Mapping[str, object]] = []

        def moved() -> bool:
            found[:] = [judge.order("status")]
            return int(str(found[0]["epoch"])) > epoch

        self._await(moved, self.patience_s, "a primary of a newer epoch acknowledges rows")
        return found[0]

    def _await_whole(self, before: Seen, incarnation: str) -> Seen:
        """Healthy, under a newer epoch; with `incarnation`: the source reports under another one."""
        try:
            self._await(lambda: self._is_whole(_epoch(before), incarnation, _leader(before)), WHOLE_S, "healthy again")
        except PghaError as e:
            found = status.judge(self.target, _look(self.tools, self.target))
            raise PghaError(e.what, "; ".join((found.sentence(), *found.notes)), e.next_step) from e
        return _look(self.tools, self.target)

    def _is_whole(self, epoch: int, incarnation: str, source: str = "") -> bool:
        seen = _look(self.tools, self.target)
        if status.judge(self.target, seen).exit != 0 or _epoch(seen) <= epoch:
            return False
        member = seen.records.members.get(source)
        return not incarnation or (member is not None and member.incarnation != incarnation)

    def _await(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        clock = self.tools.clock
        end = clock.now_s() + within_s
        while not condition():
            if clock.now_s() > end:
                raise PghaError(f"not within {within_s:.0f} s: {what}", "", self.target.command("list"))
            clock.sleep(LOOK_S)

    def _let_all_up(self) -> None:
        for node in self.nodes.values():
            drill_faults.start_node(node, self.tools.host)

    def _chance(self, number: int) -> float:
        """A pause of 0 to 1 s that follows from the seed, so that faults meet the heartbeats at any point."""
        digest = hashlib.sha256(f"{self.options.seed}/{number}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / (1 << 32)
