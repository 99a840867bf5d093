"""`pgha check`: everything that could go wrong on the hosts, before and after bootstrap, in one pass. Changes nothing.

Asks all hosts at once; judges by the same rules as bootstrap's preflight, and a cluster that is there by `list`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgha.core.timing import timing_for
from pgha.errors import Exit, Findings, PghaError
from pgha.host import Remote
from pgha.ops import host_health, host_preflight, host_reach, node_notes, status
from pgha.ops.host_fleet import Distant, look_at_all
from pgha.ops.host_health import Finding
from pgha.ops.host_preflight import Seen
from pgha.ops.progress import Progress
from pgha.ops.target import from_inventory
from pgha.ops.together import outcomes

if TYPE_CHECKING:
    from pgha.inventory import Inventory

COLUMNS = ("NODE", "HOST", "SYSTEM", "PYTHON", "POSTGRESQL", "ETCD", "CLOCK", "FREE", "PGHA")
GIVES_WAY = ("HOST", "PYTHON", "SYSTEM")


@dataclass(frozen=True, slots=True)
class Checked:
    """rows: by COLUMNS. problems: what bootstrap would refuse for. warnings: to be said. exit: the command's.

    findings: what wants to be put right on a running cluster. state: its own, with the losses it survives.
    """

    cluster: str
    rows: tuple[tuple[str, ...], ...]
    problems: tuple[PghaError, ...]
    warnings: tuple[str, ...]
    lease: str
    exit: Exit
    findings: tuple[Finding, ...] = ()
    state: str = ""

    def lines(self, width: int) -> list[str]:
        """A table of the hosts, without those of GIVES_WAY that don't fit; then every finding, with what fixes it."""
        table = [COLUMNS, *self.rows]
        sizes = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))]
        shown = list(range(len(COLUMNS)))
        for name in GIVES_WAY:
            if sum(sizes[i] + 2 for i in shown) - 2 > width:
                shown.remove(COLUMNS.index(name))
        lines = ["  ".join(row[i].ljust(sizes[i]) for i in shown).rstrip() for row in table]
        for problem in self.problems:
            lines += problem.lines()
        lines += [f"! {warning}" for warning in self.warnings]
        lines += [line for finding in self.findings for line in finding.lines()]
        lines += [self.state] if self.state else []
        lines.append(self.lease)
        count = len(self.problems)
        said = f"{count} problem{'' if count == 1 else 's'}" if count else "nothing is in the way"
        if self.findings:
            said += f"; {len(self.findings)} finding{'' if len(self.findings) == 1 else 's'} on the running cluster"
        lines.append(said)
        return lines

    def as_dict(self) -> dict[str, object]:
        """For `-o json`."""
        return {
            "schema_version": 1,
            "cluster": self.cluster,
            "hosts": [dict(zip((c.lower() for c in COLUMNS), row, strict=True)) for row in self.rows],
            "problems": [
                {"what": p.what, "because": p.because, "next": p.next_step, "code": p.code.name} for p in self.problems
            ],
            "warnings": list(self.warnings),
            "state": self.state,
            "findings": [{"what": f.what, "next": f.fix} for f in self.findings],
            "exit": int(self.exit),
        }


@dataclass(frozen=True, slots=True)
class Looks:
    """At the store of a cluster that is there already, and at the room that it has."""

    gather: Callable[[], status.Seen]
    room: Callable[[], host_health.StoreRoom]


def check(inventory: Inventory, distant: Distant, looks: Looks, progress: Progress, flags: str = "") -> Checked:
    """Look at every host. flags: for suggested commands."""
    remotes, seen, found = look_at_all(inventory, distant, progress)
    verdict = host_preflight.judge(inventory, seen)
    between, unsure = host_reach.unreachable(remotes, seen, inventory.etcd.endpoints)
    problems = [*_flat(found), *verdict.problems, *between]
    warnings, findings, state = [*verdict.warnings, *unsure], list[Finding](), ""
    code = Findings(problems).code if problems else Exit.OK
    if any(one.marker for one in seen.values()):
        store = looks.gather()
        now = status.judge(from_inventory(inventory, ""), store)
        warnings += now.notes if now.exit != Exit.OK else ()
        warnings += node_notes.unarmed(store.records)
        state = now.sentence()
        running = {name: remotes[name] for name, one in seen.items() if one.marker}
        findings = _health(running, seen, verdict.bin_dir, distant, store, looks.room(), flags)
        findings += _behind(store, {name: seen[name].facts.builds.get(verdict.bin_dir, "") for name in running}, flags)
        code = code if problems else now.exit or (Exit.DEGRADED if findings else Exit.OK)
    for remote in remotes.values():
        remote.close()
    rows = [_row(spec.name, spec.host, seen.get(spec.name)) for spec in inventory.nodes]
    found_all = tuple(problems), tuple(warnings), _lease(inventory), code, tuple(findings), state
    return Checked(inventory.cluster, tuple(rows), *found_all)


def _health(
    remotes: Mapping[str, Remote],
    seen: Mapping[str, Seen],
    bin_dir: str,
    distant: Distant,
    store: status.Seen,
    room: host_health.StoreRoom,
    flags: str,
) -> list[Finding]:
    """Of a running cluster; a host that gives no whole answer is a finding too."""
    days_left = distant.authority.days_left

    def ask(name: str, remote: Remote) -> host_health.Health:
        return host_health.look(seen[name].node, remote, bin_dir, days_left)

    answers = outcomes(remotes, ask)
    whole = [one for one in answers.values() if isinstance(one, host_health.Health)]
    silent = [Finding(f"{e.what}: {e.because}", e.next_step) for e in answers.values() if isinstance(e, PghaError)]
    settings = store.records.settings
    durability = settings.durability if settings is not None else "quorum"
    return [*silent, *host_health.findings(whole, store.health, flags, durability, room=room)]


def _behind(store: status.Seen, builds: Mapping[str, str], flags: str) -> list[Finding]:
    """Servers that have not been restarted since their packages were replaced."""
    runs = {name: member.postgres for name, member in store.records.members.items()}
    return [
        Finding(f"{name} runs PostgreSQL {runs[name]}, installed is {has}", f"pgha {flags}upgrade --installed")
        for name, has in builds.items()
        if has and runs.get(name) and runs[name] != has
    ]


def _flat(problems: list[PghaError]) -> list[PghaError]:
    return [one for p in problems for one in (p.problems if isinstance(p, Findings) else [p])]


def _row(name: str, host: str, one: Seen | None) -> tuple[str, ...]:
    if one is None:
        return (name, host, "not reached", *("-" for _ in COLUMNS[3:]))
    facts = one.facts
    major = ", ".join(str(v) for v in sorted(facts.postgres.values())) or "to install"
    versions = ", ".join(sorted(b.split()[0] for b in facts.builds.values())) or major
    etcd = (facts.etcd_version or "to install") if one.node.has_etcd else "-"
    free = min(facts.room_kb.values(), default=0) >> 20
    state = "in place" if one.marker else "-"
    return (
        name,
        host,
        facts.system,
        facts.python or "to install",
        versions,
        etcd,
        f"{one.skew_s:+.1f} s",
        f"{free} GB",
        state,
    )


def _lease(inventory: Inventory) -> str:
    timing = timing_for(inventory.ha.failover_after_s)
    own = f"a silent primary stops itself after {timing.f_soft_s:.2f} s, is killed after {timing.f_hard_s:.2f} s"
    return f"lease: {own}, and is taken over after {inventory.ha.failover_after_s:g} s"
