"""`python -m bench.run`: pgha's figures beside what PostgreSQL alone needs, each with its target, in one table.

python -m bench.run                                  all of it, 10 rounds each, some ten minutes
python -m bench.run --only baseline,switchover       parts of it
python -m bench.run --only deep                      what hangs and dies besides: see bench/depth.py, some 20 minutes
python -m bench.run --rounds 3 --json                quick, for a program
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench import baseline, depth, machine
from bench import demo as bench_demo
from bench.demo import Demo
from bench.figures import Line, Spread, table

BASIC = ("baseline", "demo", "commands", "idle", "switchover", "kill-postgres", "kill-node", "kill-node-leader")
PARTS = (*BASIC, *depth.PARTS)
RATIO = {"switchover": 1.4, "kill-postgres": 1.6}
CEILING_S = {"switchover": 0.35, "kill-postgres": 0.40}
BASE_OF = {"switchover": "switchover", "kill-postgres": "crash"}
KILL_NODE_S = 0.5  # beyond H


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def baseline_kinds(parts: set[str]) -> list[str]:
    """What PostgreSQL alone is measured for: a crash also when only a backend's death is to be compared with it."""
    if "baseline" in parts:
        return ["switchover", "crash"]
    return ["crash"] if "backend-killed" in parts else []


def baseline_lines(kinds: list[str], rounds: int) -> tuple[list[Line], dict[str, float]]:
    """The baseline's lines with its steps, and its medians by kind."""
    if not kinds:
        return [], {}
    root = Path(tempfile.mkdtemp(prefix="pgha-bench-", dir="/var/tmp"))
    root.chmod(0o711)
    try:
        found = baseline.measure(root, kinds, rounds, say)
    finally:
        shutil.rmtree(root)
    lines, medians = [], {}
    for kind, (done, lost, two) in found.items():
        outage = Spread(tuple(r.outage_s for r in done))
        medians[kind] = outage.median
        lines.append(Line(f"baseline: {kind}", outage, "s", rows_lost=lost, two_writers=two))
        for step in done[0].steps_ms:
            lines.append(Line(f"  {step}", Spread(tuple(r.steps_ms[step] for r in done)), "ms"))
    return lines, medians


def fault_line(of: Demo, part: str, rounds: int, base: dict[str, float]) -> Line:
    """One fault on the demo cluster, against its target."""
    fault = part.removesuffix("-leader")
    leader = None if fault != "kill-node" else part != fault
    report = bench_demo.faults(of, fault, rounds, say, store_leader=leader)
    assert report.rounds, f"{part}: {report.problem}"
    if report.problem:
        say(f"{part} ended early: {report.problem}")
    outage = Spread(tuple(r.outage_s for r in report.rounds))
    limit, why, ratio = of.inventory().ha.failover_after_s + KILL_NODE_S, "H + 0.5 s", None
    if fault in CEILING_S:
        limit, why = CEILING_S[fault], f"{CEILING_S[fault]:g} s"
        if base:
            ratio = outage.median / base[BASE_OF[fault]]
            limit = min(limit, RATIO[fault] * base[BASE_OF[fault]])
            why += f" and {RATIO[fault]:g} x baseline"
    lost = 1 if report.lost is None else report.lost
    name = f"{fault}, its etcd member leads" if leader else fault
    if report.problem:
        why = f"ENDED EARLY: {report.problem}"
    return Line(
        name, outage, "s", limit, why, lost, report.two_writers + report.duplicates, ratio, bool(report.problem)
    )


def command_lines(of: Demo, rounds: int) -> list[Line]:
    """Whole processes, from start to exit."""
    listing = ["-i", of.inventory_file, "list"]
    return [
        Line("pgha --help", bench_demo.timed(rounds, lambda: bench_demo.pgha("--help")), "s", 0.15),
        Line("pgha list, healthy", bench_demo.timed(rounds, lambda: bench_demo.pgha(*listing)), "s", 0.6),
        Line("second pgha watchdog", bench_demo.timed(rounds, lambda: bench_demo.second_watchdog(of)), "s", 0.1),
    ]


def demo_line(first_s: float, rounds: int) -> Line:
    """`demo up` from nothing, each time into a new directory."""
    seconds = [first_s]
    for number in range(2, rounds + 1):
        with bench_demo.demo() as another:
            seconds.append(another.up_s)
            say(f"demo up {number}/{rounds}: {another.up_s:.1f} s")
    return Line("demo from nothing to healthy", Spread(tuple(seconds)), "s", 10.0)


def pgha_lines(parts: set[str], rounds: int, node_rounds: int, base: dict[str, float]) -> list[Line]:
    """All parts that need a demo cluster."""
    lines: list[Line] = []
    with bench_demo.demo() as of:
        say(f"demo up: {of.up_s:.1f} s")
        for part in ("switchover", "kill-postgres", "kill-node", "kill-node-leader"):
            if part in parts:
                lines.append(fault_line(of, part, node_rounds if "node" in part else rounds, base))
        if "commands" in parts:
            lines += command_lines(of, max(10, rounds))
        if "idle" in parts:
            lines.append(Line("PSS of guard + agent, a node", bench_demo.memory_mb(of), "MB", 60.0))
            lines.append(Line("idle CPU of guard + agent, a node", bench_demo.idle_cpu(of), "%", 1.0))
        first_s = of.up_s
    if "demo" in parts:
        lines.append(demo_line(first_s, rounds))
    return lines


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(BASIC), metavar="PARTS", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=10, help="of each part (default 10)")
    parser.add_argument("--node-rounds", type=int, default=None, help="of kill-node, when others than --rounds")
    parser.add_argument("--deep-rounds", type=int, default=2, help="of each part of bench/depth.py (default 2)")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    found = parser.parse_args()
    found.only = ",".join(",".join(depth.PARTS) if part == "deep" else part for part in found.only.split(","))
    unknown = sorted(set(found.only.split(",")) - set(PARTS))
    if unknown or found.rounds < 1:
        parser.error(f"no such part: {', '.join(unknown)}" if unknown else "--rounds is less than 1")
    return found


def main() -> int:
    """Print the table; exit code 1 when a target was missed."""
    wanted = options()
    parts, facts = set(wanted.only.split(",")), machine.facts()
    lines, base = baseline_lines(baseline_kinds(parts), wanted.rounds)
    if parts & set(BASIC[1:]):
        lines += pgha_lines(parts, wanted.rounds, wanted.node_rounds or wanted.rounds, base)
    if deep := parts & set(depth.PARTS):
        lines += depth.lines(deep, wanted.deep_rounds, base.get("crash", 0.0), say)
    facts["load at the end"] = machine.facts()["load"]
    if wanted.json:
        rows = [{**asdict(x), "median": x.spread.median, "p90": x.spread.p90, "verdict": x.verdict} for x in lines]
        print(json.dumps({"machine": facts, "lines": rows}, indent=1))
    else:
        print("\n".join(f"{name}: {text}" for name, text in facts.items()) + "\n")
        print(table(lines))
    return 0 if all(line.good for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
