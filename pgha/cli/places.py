"""Which file names the cluster: the places that are looked at without -i. Light: shell completion uses it too.

May import errors and options only.
"""

from __future__ import annotations

import glob
import os
import sys

from pgha.cli.options import Choice
from pgha.errors import UsageError

SYSTEM_DIR = "/etc/pgha"
ROOT_DEMO = "/var/tmp/pgha-demo"  # noqa: S108  # refused unless empty or ours
SIZE_MAX = 1 << 20  # an inventory is a page or two; more is some other file
NEXT = "give -i FILE, or make a cluster to try with: pgha demo up"


def demo_dir() -> str:
    """Where `pgha demo` lives when nothing else is said."""
    if os.geteuid() == 0:
        return ROOT_DEMO
    return os.path.expanduser("~/.local/state/pgha/demo")


def _candidates() -> list[str]:
    """The places that are looked at without -i, in order; the first with a file wins."""
    own = sorted(glob.glob(f"{SYSTEM_DIR}/*.yaml")) or sorted(glob.glob(f"{SYSTEM_DIR}/*.json"))
    if os.path.isfile("inventory.yaml"):
        return ["inventory.yaml"]
    if len(own) > 1:
        raise UsageError(f"{SYSTEM_DIR} holds several clusters", ", ".join(own), "choose one with -i FILE")
    return own


def find(choice: Choice) -> tuple[str, str]:
    """(path, flags): which file names the cluster, and the flags a suggested command needs. Raises UsageError."""
    if choice.node:
        return choice.node, f"--node {choice.node} "
    if choice.inventory:
        return choice.inventory, f"-i {choice.inventory} "
    named = os.environ.get("PGHA_INVENTORY")
    if named:
        return named, ""
    found = _candidates()
    if found:
        return found[0], ""
    demo = f"{demo_dir()}/inventory.yaml"
    if os.path.isfile(demo):
        print(f"no inventory given: using the demo's, {demo}", file=sys.stderr)
        return demo, ""
    raise UsageError("no inventory", f"none in PGHA_INVENTORY, ./inventory.yaml, {SYSTEM_DIR}, and no demo is up", NEXT)


def raw_of(path: str) -> bytes:
    """A file's bytes. Raises UsageError when there is none, or it is no inventory by its size."""
    try:
        with open(path, "rb") as f:
            raw = f.read(SIZE_MAX + 1)
    except OSError as e:
        raise UsageError(f"{path} can't be read", e.strerror or "", NEXT) from e
    if len(raw) > SIZE_MAX:
        raise UsageError(f"{path} is no inventory", f"larger than {SIZE_MAX >> 20} MB")
    return raw


def text_of(path: str) -> str:
    """A file's text, for showing lines of it."""
    return raw_of(path).decode(errors="replace")
