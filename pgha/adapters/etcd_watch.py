"""Watching a prefix of etcd: a hint that something changed, by one stream in the background for each prefix.

Duty: keeps one Watch stream open, moves it to the next member when it breaks or falls silent, and wakes who waits.
Nothing rests on it: a dead watch only means that `changed` returns at its deadline.
May import `pgha.adapters.etcd_members`, `pgha.adapters.etcd_wire`, `pgha.ports` and the standard library.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pgha.adapters.etcd_members import Members
from pgha.adapters.etcd_messages import Stream, WatchReply
from pgha.adapters.etcd_wire import libraries
from pgha.ports import StoreDown

Dull = Callable[[str, bytes, int], bool]  # (key, value, revision): a change that is worth no look
SILENCE_S = 3.0  # a watch that says nothing for so long is opened anew at the next member (a stopped one is silent)
REOPEN_S = 0.2  # pause before a broken stream is opened anew; grows to REOPEN_MAX_S
REOPEN_MAX_S = 1.0


class Watch:
    """The stream of one prefix. Its thread starts with the first `changed`, and ends with `close`."""

    def __init__(self, members: Members, prefix: str, dull: Dull) -> None:
        self._members, self._prefix, self._dull = members, prefix, dull
        self._moved = threading.Condition()
        self._stream: Stream | None = None
        self._thread: threading.Thread | None = None
        self._since = 0  # the stream shows what came after this revision
        self._whole_from = 0  # nothing after this revision was missed
        self._seen = 0  # the newest change seen
        self._broken = 0  # how often changes may have been missed
        self._heard_s = 0.0
        self._member = members.good
        self._closed = False

    def changed(self, since: int, *, deadline_s: float) -> bool:
        """Waits for a change after revision `since`. True when one was seen, or may have been missed."""
        clock = self._members.clock
        with self._moved:
            self._begin(since)
            broken = self._broken
            while not self._closed and self._seen <= since and self._broken == broken:
                now = clock.now_s()
                if now >= deadline_s:
                    return False
                if now >= self._heard_s + SILENCE_S:
                    self._restart(now)
                self._moved.wait(min(deadline_s, self._heard_s + SILENCE_S) - now)
            if self._closed:
                # A closed store must not turn a caller's loop into a busy one.
                self._moved.wait(max(0.0, deadline_s - clock.now_s()))
                return False
            return True

    def close(self) -> None:
        """End the stream; whoever waits gets False at its deadline."""
        with self._moved:
            self._closed = True
            self._cancel()
            self._moved.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=1.0)

    def _begin(self, since: int) -> None:
        """See that the stream covers what came after `since`."""
        now = self._members.clock.now_s()
        if self._thread is None:
            self._since = self._whole_from = since
            self._heard_s = now
            self._thread = threading.Thread(target=self._run, name="pgha-store-watch", daemon=True)
            self._thread.start()
        elif since < self._whole_from and self._seen <= since:
            self._since = self._whole_from = since
            self._restart(now)

    def _restart(self, now: float) -> None:
        self._heard_s = now
        self._cancel()

    def _cancel(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    def _run(self) -> None:
        """The thread: one stream after another."""
        pause = REOPEN_S
        while not self._closed:
            heard = self._follow()
            pause = REOPEN_S if heard else min(REOPEN_MAX_S, pause * 2)
            with self._moved:
                self._stream = None
                self._member += 1
                if not self._closed:
                    self._moved.wait(pause)

    def _follow(self) -> bool:
        """One stream until it ends; whether it said anything."""
        heard = False
        wire = libraries()
        try:
            methods = self._members.methods()
            with self._moved:
                if self._closed:
                    return False
                request = wire.watch_request(self._prefix, self._since)
                # etcd ends the stream of a member without a leader only when asked to by this.
                metadata = (("hasleader", "true"), *self._members.metadata())
                # The requests end here, the answers do not: no thread is kept for sending.
                stream = methods[self._member % len(methods)].watch([request], metadata)
                self._stream = stream
            for reply in stream:
                heard = True
                if not self._take(reply):
                    break
            stream.cancel()
        except (wire.error, StoreDown, ValueError):  # broken, unreachable or closed: another one follows
            pass
        return heard

    def _take(self, reply: WatchReply) -> bool:
        """Note what a message says; False when it ends the watch."""
        with self._moved:
            self._heard_s = self._members.clock.now_s()
            if reply.created and reply.header.revision < self._seen:
                self._seen = 0  # the store was restored: what was seen is no more
            if reply.canceled:
                self._since = self._whole_from = max(self._since, reply.compact_revision - 1)
                self._broken += 1
            worth = reply.canceled
            for event in reply.events:
                kv = event.kv
                self._since = max(self._since, kv.mod_revision)
                if not self._dull(kv.key.decode(errors="replace"), kv.value, kv.mod_revision):
                    self._seen, worth = max(self._seen, kv.mod_revision), True
            if worth:
                self._moved.notify_all()
            return not reply.canceled
