"""The file of runs and the page made from it: `python -m tests.hosts.proof table | add FILE | judge HISTORY...`

A run is one line of JSON in docs/proof.jsonl; later runs add to it. The table of docs/proof.md is built from it alone.
What the client saw is kept whole (xz) for red runs, and for all with PGHA_TEST_HISTORIES=DIR; `judge` judges it again.
May import the judge and the standard library.
"""

from __future__ import annotations

import json
import lzma
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pgha.ops.judge import Verdict, parse_history, verdict

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILE = DOCS / "proof.jsonl"
PAGE = DOCS / "proof.md"
BEGIN, END = "<!-- runs:begin -->", "<!-- runs:end -->"
MISSING = "-"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a scenario. at: UTC. row: of the catalogue of faults, 0 for none. limit_s: of the outage.

    lost None: nobody could be asked. red: why it failed, "" when it did not. fixed: what a red run led to.
    """

    at: str
    scenario: str
    row: int
    pgha: str
    postgres: str
    etcd: str
    supervisor: str
    seed: int = 0
    outage_s: float | None = None
    limit_s: float | None = None
    lost: int | None = None
    two_writers: int | None = None
    duplicates: int | None = None
    acked: int = 0
    epochs: int = 0
    whole_s: float | None = None
    red: str = ""
    fixed: str = ""


def parse(text: str) -> list[Run]:
    """The runs of a file. Raises ValueError, naming the line."""
    runs = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            runs.append(Run(**json.loads(line)))
        except (ValueError, TypeError) as e:
            raise ValueError(f"line {number}: {e}") from e
    return runs


def line(run: Run) -> str:
    """Without what has its default."""
    empty = Run("", "", 0, "", "", "", "")
    kept = {k: v for k, v in asdict(run).items() if k in ("at", "scenario", "row") or v != getattr(empty, k)}
    return json.dumps(kept)


def _worst(values: Iterable[float | None], form: str) -> str:
    known = [v for v in values if v is not None]
    return form.format(max(known)) if known else MISSING


def _span(values: Iterable[str]) -> str:
    found = sorted(set(values))
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def table(runs: Sequence[Run]) -> str:
    """One row a scenario; totals below."""
    head = [
        "scenario",
        "row",
        "runs",
        "last",
        "worst outage",
        "limit",
        "lost",
        "two writers",
        "worst whole again",
        "red",
    ]
    rows = [head, ["---"] * len(head)]
    for name in sorted(
        {r.scenario for r in runs}, key=lambda s: (min(r.row or 999 for r in runs if r.scenario == s), s)
    ):
        mine = [r for r in runs if r.scenario == name]
        red = [r for r in mine if r.red]
        rows.append(
            [
                name,
                str(mine[-1].row or MISSING),
                str(len(mine)),
                max(r.at for r in mine)[:10],
                _worst((r.outage_s for r in mine), "{:.2f} s"),
                _worst((r.limit_s for r in mine), "{:g} s"),
                _worst((r.lost for r in mine), "{:g}"),
                _worst((r.two_writers for r in mine), "{:g}"),
                _worst((r.whole_s for r in mine), "{:.0f} s"),
                "; ".join([str(len(red)), *sorted({r.fixed or "open" for r in red})]) if red else "0",
            ]
        )
    last, builds = max(runs, key=lambda r: r.at).pgha, len({r.pgha for r in runs})
    versions = f"{builds} builds of pgha, the last {last}; PostgreSQL {_span(r.postgres for r in runs)}"
    total = (
        f"{len(runs)} runs of {len(rows) - 2} scenarios, {len({r.row for r in runs if r.row})} rows of the catalogue, "
        f"{sum(r.acked for r in runs)} acknowledged rows; lost {_worst((r.lost for r in runs), '{:g}')}, "
        f"two writers {_worst((r.two_writers for r in runs), '{:g}')}; {sum(bool(r.red) for r in runs)} red. "
        f"{versions}, etcd {_span(r.etcd for r in runs)}."
    )
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + ["", total])


def page(text: str, runs: Sequence[Run]) -> str:
    """The page with the table of these runs in its place. Raises ValueError without the place."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} and {END}")
    return f"{before}{begin}\n{table(runs)}\n{end}{after}"


def judge(path: Path) -> Verdict:
    """A kept history, judged again. Raises OSError or ValueError."""
    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as lines:
        return verdict(parse_history(lines))


def main(words: Sequence[str]) -> int:
    """See the module."""
    match words:
        case ["table"]:
            PAGE.write_text(page(PAGE.read_text(), parse(FILE.read_text())))
        case ["add", other]:
            there = parse(FILE.read_text()) if FILE.exists() else []
            fresh = [run for run in parse(Path(other).read_text()) if run not in there]
            with FILE.open("a", encoding="utf-8") as out:
                out.writelines(line(run) + "\n" for run in fresh)
            print(f"{len(fresh)} runs added")
            return main(["table"])
        case ["judge", *paths] if paths:
            found = [judge(Path(path)) for path in paths]
            for path, one in zip(paths, found, strict=True):
                told = f"outage {one.outage_s:.3f} s, lost {one.lost}, two writers {one.two_writers}, {one.acked} rows"
                print(f"{path}: {told}")
            return int(not all(one.clean for one in found))
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
