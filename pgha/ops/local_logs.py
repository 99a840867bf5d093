"""The logs of nodes on this machine: each file with the one that was rotated away before it."""

from __future__ import annotations

from collections.abc import Mapping

from pgha.ops.story import Log


def read(state_dirs: Mapping[str, str]) -> dict[str, Log]:
    """By node. Never raises for a file: what can't be read says why."""
    return {node: _read(path) for node, path in state_dirs.items()}


def _read(state_dir: str) -> Log:
    texts = {}
    for name in ("watchdog.log", "guard.log"):
        try:
            texts[name] = _text(f"{state_dir}/{name}.1", optional=True) + _text(f"{state_dir}/{name}", optional=False)
        except OSError as e:
            return Log(problem=f"{state_dir}/{name}: {e.strerror or e}")
    return Log(texts["watchdog.log"], texts["guard.log"])


def _text(path: str, *, optional: bool) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except FileNotFoundError:
        if optional:
            return ""
        raise
