"""The lab by hand, as root: `python -m tests.hosts COMMAND`. Hosts keep running between commands."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time

from tests.hosts import network
from tests.hosts.lab import Lab, Spec
from tests.hosts.shell import LabError

USAGE = """
  up [HOST[=KIND] ...]    make a lab (default: n1 n2 n3), KIND prepared (default), bare, or bare-RELEASE (bare-trixie)
  add HOST[=KIND] ...     more hosts
  remove HOST             a host and its disk are gone
  down                    nothing is left
  list                    the hosts, and what a client needs
  ssh HOST [CMD ...]      log in as the admin, or run a command
  console HOST [CMD ...]  the same as root, past the network
  run CMD ...             a command in the lab's network, as the operator: run ssh, pgha, psql from there
  power-off HOST ...      plugs are pulled
  boot HOST ...           power again
  reboot HOST             orderly, and up again
  cut HOST                its cable is pulled
  block A B [PORT ...]    packets between two hosts vanish (of these TCP ports only)
  one-way A B [PORT ...]  the same, only from A to B
  heal [HOST ...]         cables are back, rules gone
  freeze HOST, thaw HOST  its processes stand still, and go on
"""


def _specs(words: list[str]) -> list[Spec]:
    pairs = [word.partition("=") for word in words or ["n1", "n2", "n3"]]
    return [Spec(name, kind or "prepared") for name, _, kind in pairs]


def _list(lab: Lab) -> None:
    print(f"operator's network: {network.namespace_file(lab.network.operator)} (python -m tests.hosts run CMD ...)")
    print(f"user {lab.user}, key {lab.key}, known hosts {lab.known_hosts}, ssh -F {lab.ssh_config}")
    for host in lab.hosts.values():
        print(f"{host.name:10} {host.address:15} {host.kind:14} {host.state():10} disk {host.disk}")


def _replace(argv: list[str]) -> None:
    sys.stdout.flush()
    os.execvp(argv[0], argv)


def _happen(lab: Lab, command: str, words: list[str]) -> None:
    ports = [int(word) for word in words[2:]] if command in ("block", "one-way") else []
    if command == "power-off":
        lab.power_off(*words)
    elif command == "boot":
        lab.boot(*words)
    elif command == "reboot":
        lab.reboot(words[0])
    elif command == "cut":
        lab.cut(words[0])
    elif command in ("block", "one-way"):
        lab.block(words[0], words[1], ports=ports, one_way=command == "one-way")
    elif command == "heal":
        lab.heal(*words)
    elif command == "freeze":
        lab.freeze(words[0])
    elif command == "thaw":
        lab.thaw(words[0])
    else:
        raise LabError(f"no such command: {command}{USAGE}")


def _do(name: str, command: str, words: list[str]) -> None:
    begun = time.monotonic()
    if command == "up":
        _list(Lab(name).up(_specs(words)))
    elif command == "down":
        Lab(name).down()
    elif command == "list":
        _list(Lab.open(name))
        return
    elif command == "add":
        Lab.open(name).add(*_specs(words))
    elif command == "remove":
        Lab.open(name).remove(words[0])
    elif command == "ssh":
        _replace(Lab.open(name).ssh_argv(words[0], words[1:]))
    elif command == "run":
        _replace(network.within(Lab.open(name).network.operator, words))
    elif command == "console":
        first = str(Lab.open(name).host(words[0]).pid)
        _replace(["nsenter", "-t", first, "-a", "--", *(words[1:] or ["su", "-"])])
    else:
        _happen(Lab.open(name), command, words)
    print(f"{command} {shlex.join(words)}: {time.monotonic() - begun:.2f} s", file=sys.stderr)


def main() -> int:
    """Exit code 1 with a sentence when it could not be done."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hosts", epilog=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lab", default="lab", help="the lab's name")
    parser.add_argument("command")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    try:
        _do(given.lab, given.command, given.words)
    except (LabError, IndexError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
