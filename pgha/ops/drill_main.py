"""`python -m pgha.ops.drill_main VERB FILE [SECONDS]`: a drill's fault on the machine it is for, and its end.

Verbs: `ready` (can it be made, and taken back?), `inflict`, `back` (all of it, also when nothing is left to take back),
`later` (sleep, then back: the dead man's timer where there is no systemd). FILE holds the order as JSON; the answer is
one JSON object on stdout, {"problem": ...} when it failed. On a host it runs as root, started over SSH, and the dead
man's timer is systemd's: it needs neither this process nor the operator's connection. May import adapters; a root.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pgha.adapters.local import LocalHost, SystemClock
from pgha.adapters.local_root import RootHost
from pgha.errors import PghaError, Refused
from pgha.host import Ran
from pgha.ops import drill_faults, procs
from pgha.ops.drill_cut import cut_node, cut_store, no_cut
from pgha.ops.host_nodes import HostNode, first_start_argv
from pgha.ops.local_nodes import LocalNode

COMMAND_S = 20.0
TOOLS = {"cut-store": ("nft",), "cut-node": ("nft",), "power": ("systemctl",), "kill-node": ("flock", "systemctl")}
PATHS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")


@dataclass(frozen=True, slots=True)
class Order:
    """hold_s: after which the fault ends by itself. ports: of the store's members; ssh_port: what a cut leaves open."""

    file: str
    fault: str
    hold_s: float
    host: HostNode | None = None
    local: LocalNode | None = None
    supervisor: str = "cron"
    ports: tuple[int, ...] = ()
    ssh_port: int = 22

    @property
    def unit(self) -> str:
        """The dead man's timer."""
        assert self.host is not None
        return f"pgha-drill-{self.host.cluster}"


def read_order(path: str) -> Order:
    """Raises OSError, or ValueError, KeyError or TypeError when it can't be understood."""
    with open(path, encoding="utf-8") as f:
        body = json.load(f)
    return Order(
        file=path,
        fault=str(body["fault"]),
        hold_s=float(body["hold_s"]),
        host=HostNode(**body["host"]) if body.get("host") else None,
        local=LocalNode(**body["local"]) if body.get("local") else None,
        supervisor=str(body.get("supervisor", "cron")),
        ports=tuple(int(port) for port in body.get("ports", ())),
        ssh_port=int(body.get("ssh_port", 22)),
    )


# -- a host: root, systemd -----------------------------------------------------------------------------------


class OnHost:
    """The faults of a node on a host of its own."""

    def __init__(self, order: Order, node: HostNode) -> None:
        self.order, self.node, self.machine = order, node, RootHost()
        self.lock = f"{node.state_dir}/watchdog.lock"

    def _run(self, *argv: str, stdin: str = "") -> Ran:
        return self.machine.run(["env", f"PATH={':'.join(PATHS)}", *argv], timeout_s=COMMAND_S, stdin=stdin)

    def _must(self, what: str, *argv: str, stdin: str = "") -> None:
        ran = self._run(*argv, stdin=stdin)
        if not ran.ok:
            raise PghaError(f"{self.node.name}: {what}", ran.tail())

    def ready(self) -> None:
        """Everything is there to make it and to take it back."""
        for tool in ("systemd-run", *TOOLS.get(self.order.fault, ())):
            if not any(os.access(f"{folder}/{tool}", os.X_OK) for folder in PATHS):
                step = f"on {self.node.host}: apt install {'nftables' if tool == 'nft' else tool}"
                raise Refused(f"{self.node.name} has no {tool}, which {self.order.fault} needs", "", step)

    def inflict(self) -> None:
        """The timer first."""
        order, node = self.order, self.node
        if order.fault != "power":
            self._arm()
        if order.fault == "kill-postgres":
            drill_faults.kill_postgres(node)
        elif order.fault == "kill-agent":
            drill_faults.signal_agent(node, signal.SIGKILL)
        elif order.fault == "stop-agent":
            drill_faults.signal_agent(node, signal.SIGSTOP)
        elif order.fault == "kill-node":
            self._kill_node()
        elif order.fault == "cut-store":
            self._must("no cut", "nft", "-f", "-", stdin=cut_store(node.cluster, order.ports))
        elif order.fault == "cut-node":
            self._must("no cut", "nft", "-f", "-", stdin=cut_node(node.cluster, order.ssh_port))
        elif order.fault == "power":
            self._must("no reset", *_soon("0.2s", "systemctl", "--force", "--force", "reboot"))

    def _arm(self) -> None:
        self._run("systemctl", "stop", f"{self.order.unit}.timer")
        argv = [sys.executable, "-I", "-m", "pgha.ops.drill_main", "back", self.order.file]
        self._must("no timer", *_soon(f"{self.order.hold_s:.0f}s", *argv, unit=self.order.unit))

    def _kill_node(self) -> None:
        drill_faults.kill_node(self.node, SystemClock())
        if self.node.has_etcd:  # within systemd's RestartSec: the restart that is due is called off
            self._must("etcd is not held down", "systemctl", "stop", self.node.etcd_unit)
        hold = ["flock", "-o", self.lock, "sleep", f"{self.order.hold_s:.0f}"]
        self.machine.spawn(hold, cwd="/", log_file="/dev/null")

    def back(self) -> None:
        """Whatever it was; then the timer and the order's file are gone."""
        self._run("nft", "-f", "-", stdin=no_cut(self.node.cluster))
        drill_faults.signal_agent(self.node, signal.SIGCONT)
        held = self._let_up()
        if self.order.fault == "kill-node":
            if self.node.has_etcd:
                self._must("etcd does not start", "systemctl", "start", self.node.etcd_unit)
            if held and self.order.supervisor == "cron":
                self._must("the watchdog does not start", *first_start_argv(self.node))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.order.file)
        self._run("systemctl", "stop", f"{self.order.unit}.timer")

    def _let_up(self) -> bool:
        """The lock's keeper ends; whether there was one."""
        there = procs.living()
        held = [p for p in there if p.program == "flock" and self.lock in p.argv]
        sleeping = [p for p in there if p.parent in {h.pid for h in held}]
        return not procs.end_all([*held, *sleeping], timeout_s=2.0) and bool(held)


def _soon(after: str, *argv: str, unit: str = "") -> list[str]:
    """A transient timer of systemd's; `$` is doubled, because systemd replaces it (systemd.service(5))."""
    named = [f"--unit={unit}"] if unit else []
    timer = ["--quiet", "--collect", f"--on-active={after}", "--timer-property=AccuracySec=100ms"]
    return ["systemd-run", *named, *timer, *(word.replace("$", "$$") for word in argv)]


# -- this machine --------------------------------------------------------------------------------------------


def back_here(order: Order, node: LocalNode) -> None:
    """The end of a fault of a local node, as its user."""
    drill_faults.signal_agent(node, signal.SIGCONT)
    if order.fault == "kill-node":
        drill_faults.start_node(node, LocalHost())
    with contextlib.suppress(FileNotFoundError):
        os.unlink(order.file)


# -- the program ---------------------------------------------------------------------------------------------


def _work(order: Order, verb: str) -> None:
    if order.host is not None:
        on_host = OnHost(order, order.host)
        {"ready": on_host.ready, "inflict": on_host.inflict, "back": on_host.back}[verb]()
    elif order.local is not None and verb == "back":
        back_here(order, order.local)
    else:
        raise KeyError(verb)


def _say(problem: str) -> None:
    sys.stdout.write(json.dumps({"problem": problem}) + "\n")


def main(words: Sequence[str]) -> int:
    """0 when it is done, 1 with a problem, 2 for an order that can't be read; nothing for one that was taken back."""
    verb, path = words[0], words[1]
    if verb == "later":
        time.sleep(float(words[2]))
        verb = "back"
    problem = ""
    try:
        if not os.path.exists(path) and verb == "back":
            return 0
        _work(read_order(path), verb)
    except PghaError as e:
        problem = "\n".join((e.what, e.because, e.next_step))
    except (OSError, ValueError, KeyError, TypeError) as e:
        _say(f"the order can't be read: {e!r}")
        return 2
    _say(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
