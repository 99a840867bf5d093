"""Golden files: what a program says, kept beside the test as a file that is read when it changes."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

REWRITE = "PGHA_REWRITE"


def check(text: str, name: str, *, beside: str) -> None:
    """`text` equals `golden/<name>` in the directory of the test file `beside` (its `__file__`).

    With PGHA_REWRITE=1 in the environment the file is written instead. Raises AssertionError with the difference.
    """
    path = Path(beside).resolve().parent / "golden" / name
    if os.environ.get(REWRITE) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    how = f"set {REWRITE}=1 to write it, then read the difference before it is committed"
    assert path.is_file(), f"there is no golden file {path}: {how}"
    kept = path.read_text(encoding="utf-8")
    if text != kept:
        lines = difflib.unified_diff(kept.splitlines(), text.splitlines(), f"golden/{name}", "now", lineterm="")
        raise AssertionError(f"{name} is not what it was; {how}\n" + "\n".join(lines))
