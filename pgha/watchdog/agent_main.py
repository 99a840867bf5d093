"""The agent's process: a composition root. Names the adapters, runs the threads, ends in order.

main thread: observe, decide, act. `lease`: renewals only. `health`: a new connection now and then. `hint`: waits for
changes in the store. `watch`: whether the guard lives, and what is to be done when it does not; needs neither the main
thread nor a disk. Started by the guard, which hands over the descriptor of their common socket.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace

from pgha import __version__, nodefile, records
from pgha.adapters.etcd import EtcdStore
from pgha.adapters.journal import Journal, start_watchdog
from pgha.adapters.key_seen import KeySeen, clock_id
from pgha.adapters.local import JsonKeep, SystemClock
from pgha.adapters.log_size import keep_bounded
from pgha.adapters.own_address import OwnAddress
from pgha.adapters.server import PostgresServer
from pgha.core.decide import Rule
from pgha.core.model import Tenure
from pgha.core.server import DataIdentity, Running
from pgha.watchdog import act
from pgha.watchdog.agent import Agent, Ports
from pgha.watchdog.guard_log import rotate
from pgha.watchdog.guard_parent import Parent
from pgha.watchdog.guard_restart import PROTOCOL
from pgha.watchdog.guard_tree import kill_tree_by_directory
from pgha.watchdog.hints import Hints
from pgha.watchdog.link import Link

HINT_S = 5.0
ORDERLY_S = 9.0
PING_S = 0.8  # two in a row without an answer: silent. One may end unanswered because this process stood still
PINGS_APART_S = 0.5
LAST_ACT_S = 15.0
NEWER_S = 15.0
LAST_WORDS_S = 0.5


def _earlier(one: float | None, other: float | None) -> float | None:
    return min((s for s in (one, other) if s is not None), default=None)


class Loop:
    """Threads around one `Agent`."""

    def __init__(self, node_file: str, fd: int) -> None:
        with open(node_file, encoding="utf-8") as f:
            self.node = nodefile.parse(f.read())
        self.node_file = node_file
        self.parent = Parent()
        self.clock = SystemClock()
        self.wake = threading.Event()
        self.hinted = True
        self.armed = threading.Condition()
        self.revision, self.seen = 0, 0
        self.log = Journal(f"{self.node.state_dir}/watchdog.log", rotate)
        self.link = Link(fd, self.wake.set)
        self.key_seen = KeySeen(f"{self.node.state_dir}/key-seen.json", self.clock.now_s, clock_id())
        hints = Hints(records.prefix(self.node.cluster), self.clock.now_s)
        self.store = EtcdStore(self.node.store, self.clock, dull=hints.is_heartbeat)
        server = PostgresServer(self.node, self.link, self.clock)
        address = OwnAddress(self.node.me.host, self.clock)
        ports = Ports(
            store=self.store,
            clock=self.clock,
            link=self.link,
            server=server,
            parameters=server.parameters,
            keep=JsonKeep(f"{self.node.state_dir}/memory.json"),
            wall=time.time,
            new_id=lambda: secrets.token_hex(3),
            new_lock=threading.RLock,
            say=self.say,
            address_gone_s=address.gone_since_s,
            first_seen_s=lambda revision: _earlier(hints.first_seen_s(revision), self.key_seen.first_seen_s(revision)),
        )
        self.agent = Agent(self.node, ports, __version__)
        server.jobs.on_clone = self._cloned

    def _cloned(self, identity: DataIdentity) -> None:
        self.agent.memory.add_copy(identity)

    def say(self, facts: Mapping[str, object]) -> None:
        """One JSON line in the node's log."""
        self.log.write({"node": self.node.node, **facts}, self.clock.now_s())

    def run(self) -> int:
        """Until the guard dies or asks for an orderly stop."""
        if self.link.protocol not in (0, PROTOCOL):
            return self._wait_for_newer()
        for name, body in (("lease", self.agent.renew), ("health", self.agent.check_health)):
            threading.Thread(target=self._beat, args=(body,), name=name, daemon=True).start()
        threading.Thread(target=self._hints, name="hint", daemon=True).start()
        log = f"{self.node.state_dir}/postgresql.log"
        threading.Thread(target=keep_bounded, args=(log,), name="log size", daemon=True).start()
        watch = threading.Thread(target=self._watch, name="watch", daemon=True)
        watch.start()
        while True:
            if self.link.closed:
                watch.join(LAST_ACT_S)  # it ends this process
                return 1
            if self.link.stop_asked:
                return self._orderly_stop()
            pause_s = self._tick()
            self.key_seen.note(*self.agent.notes.key)
            with self.armed:
                if self.agent.view is not None and self.agent.view.revision != self.revision:
                    self.revision = self.agent.view.revision
                    self.armed.notify()
            self.wake.wait(pause_s)
            self.wake.clear()

    def _wait_for_newer(self) -> int:
        """This program was installed while an older guard runs: it is replaced, and replaces its agent then."""
        self.say({"event": "guard of another version", "speaks": self.link.protocol, "wanted": PROTOCOL})
        self.parent.ask_for_newer()
        until_s = self.clock.now_s() + NEWER_S
        while self.clock.now_s() < until_s and not self.link.closed:
            self.wake.wait(0.5)
            self.wake.clear()
        return 1

    def _tick(self) -> float:
        hint, self.hinted = self.hinted, False
        try:
            return self.agent.tick(hint=hint)
        except ConnectionError as e:  # the guard's: `watch` sees to it
            self.say({"event": "guard silent", "says": str(e)})
            return 0.1
        except Exception:  # noqa: BLE001  # the loop goes on; the guard's deadline does not depend on it
            if not self.link.closed:
                self.say({"event": "bug", "says": traceback.format_exc()[-2000:]})
            return 0.5

    def _beat(self, body: Callable[[], float]) -> None:
        while not self.link.closed:
            try:
                pause_s = body()
            except ConnectionError as e:
                self.say({"event": "guard silent", "says": str(e)})
                pause_s = 0.1
            except Exception:  # noqa: BLE001  # as above
                if not self.link.closed:
                    self.say({"event": "bug", "says": traceback.format_exc()[-2000:]})
                pause_s = 0.5
            self.clock.sleep(pause_s)

    def _hints(self) -> None:
        """Wakes the main loop when the store has something newer than it has read."""
        root = self.agent.root
        while not self.link.closed:
            with self.armed:
                self.armed.wait_for(lambda: self.revision > self.seen, HINT_S)
                since = self.revision
            if since == self.seen:
                continue
            if self.store.wait(root, since, deadline_s=self.clock.now_s() + HINT_S):
                self.seen = since
                self.hinted = True
                self.wake.set()

    def _watch(self) -> None:
        """Until the guard is dead; one that is silent is killed: it does not keep its deadline. Ends this process."""
        why = "its guard was killed"
        while not self.link.closed:
            if self._guard_is_silent():
                why = "its guard did not answer"
                self.parent.kill()
                self.link.give_up()
                break
            self.clock.sleep(PINGS_APART_S)
        try:
            self._guard_is_dead(why)
            self.log.flush(LAST_WORDS_S)
        finally:
            os._exit(1)

    def _guard_is_silent(self) -> bool:
        """Nobody keeps the deadline any more. In a pause there is none, and nothing is ended."""
        if self.link.answers(PING_S) or self.link.answers(PING_S) or self.link.closed:
            return False
        leader, _, _ = self.agent.lease.held()
        return leader is None or leader.paused is None

    def _guard_is_dead(self, why: str) -> None:
        """Nobody is left to fence but this process: the tree goes, the key is released, a new watchdog starts."""
        done = kill_tree_by_directory(self.node.data_dir, self.clock.now_s() + 5.0)
        leader, _, _ = self.agent.lease.held()
        if done and leader is not None and leader.paused is None:
            self.agent.lease.change(
                lambda key: replace(key, tenure=Tenure.RELEASED, clean=False, unwell=False, reason=why)
            )
        released = done and bool(leader and not leader.paused)
        self.say({"event": "guard gone", "because": why, "fenced": done, "released": released})
        start_watchdog(self.node_file)

    def _orderly_stop(self) -> int:
        """Fast stop, then release: nobody waits for H. A paused key stays as it is: nobody is to take over."""
        agent, deadline_s = self.agent, self.clock.now_s() + ORDERLY_S
        agent.notes.excused_until_s = deadline_s
        agent.notes.start_after_s = deadline_s + 3600.0
        while self.clock.now_s() < deadline_s:
            state = self.link.state()
            if state.postmaster:
                agent.ports.server.stop_fast()
            elif state.tree:
                self.link.kill_tree(deadline_s=deadline_s)
            agent.read_store()
            obs = agent.observe()
            if obs.server.running in (Running.DOWN, Running.NO_DATA):
                held = agent.lease.held()[0]
                if held is not None and held.paused is None:
                    act.release(agent, obs)
                agent.publish(obs, agent.rule or Rule.R510_START, force=True)
                return 0
            self.clock.sleep(0.02)
        return 1


def main() -> int:
    """`--node FILE --fd N`."""
    argv = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    os.umask(0o077)
    threading.current_thread().name = "agent"
    loop = Loop(argv["--node"], int(argv["--fd"]))
    code = loop.run()
    loop.log.flush(LAST_WORDS_S)
    sys.stdout.flush()
    os._exit(code)  # grpc's threads are not waited for


if __name__ == "__main__":
    main()
