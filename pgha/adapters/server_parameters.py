"""The settings' parameters in the server's files, and what the running server says of them. Used by `PostgresServer`.

No policy: which values are to be written is decided in `pgha.watchdog.configuring`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from pgha.adapters.database import SqlError
from pgha.adapters.local import replace_file
from pgha.adapters.server_files import ServerFiles
from pgha.adapters.server_names import Sql
from pgha.core.limits import ORDERED
from pgha.core.model import Fact
from pgha.nodefile import NodeFile
from pgha.pg import conf, parameters
from pgha.ports import Clock, ServerTrouble
from pgha.ports_parameters import Configured

ASK_S = 0.5
STATE = "parameters.json"  # in the state directory: what the file for PostgreSQL was written from


class ServerParameters:
    """`ports_parameters.Parameters` of one node. runs: there is a postmaster; reload: it reads its files again."""

    def __init__(
        self,
        node: NodeFile,
        clock: Clock,
        files: ServerFiles,
        *,
        sql: Sql,
        runs: Callable[[], bool],
        reload: Callable[[], None],
    ) -> None:
        self._node, self._clock, self._files = node, clock, files
        self._sql, self._runs, self._reload = sql, runs, reload
        self._path = f"{node.state_dir}/{conf.PARAMETERS}"
        self._state = f"{node.state_dir}/{STATE}"
        self.now = _read(self._state)

    def configure(self, revision: int, values: Mapping[str, str]) -> None:
        """See `ports_parameters.Parameters.configure`."""
        new = replace(self.now, revision=revision, values=dict(values))
        changes = new.values != self.now.values or not os.path.exists(self._path)
        if changes or self._runs():
            self._write(new, checked=self._runs())
        self._note(new)

    def _write(self, new: Configured, *, checked: bool) -> None:
        before = self._text()
        try:
            self._put(conf.parameters_conf(new.values))
            self._files.write_main()  # one that an older version wrote may not include it
            refused = self._refused() if checked else ""
        except ValueError as e:
            raise ServerTrouble(str(e)) from e
        if refused:
            self._put(before)
            raise ServerTrouble(refused)
        if checked:
            self._reload()

    def _text(self) -> str:
        try:
            with open(self._path, encoding="utf-8") as f:
                return f.read()
        except OSError:
            return ""

    def _put(self, text: str) -> None:
        replace_file(self._path, text.encode(), 0o600)

    def _refused(self) -> str:
        """What the running server would not take. One that does not answer says nothing, and takes it or not."""
        with suppress(SqlError):
            rows = self._sql(parameters.refused_sql(self._path), deadline_s=self._clock.now_s() + ASK_S)
            return "; ".join(f"{name}: {error}" for name, error in rows)
        return ""

    def keep_good(self) -> None:
        """See `ports_parameters.Parameters.keep_good`."""
        now = self.now
        if (now.good_revision, now.good_values) != (now.revision, now.values):
            self._note(replace(now, good_revision=now.revision, good_values=now.values))

    def _note(self, new: Configured) -> None:
        if new != self.now:
            body = {name: getattr(new, name) for name in Configured.__slots__}
            replace_file(self._state, json.dumps(body).encode(), 0o600)
            self.now = new

    def floor(self) -> Mapping[str, int]:
        """See `ports_parameters.Parameters.floor`."""
        found = self._files.control()
        return dict(zip(ORDERED, found.limits, strict=False)) if found is not None else {}

    def limits(self) -> tuple[Mapping[str, int], Mapping[str, tuple[str, str]]]:
        """See `ports_parameters.Parameters.limits`."""
        deadline_s = self._clock.now_s() + ASK_S
        try:
            running = self._sql(parameters.LIMITS, deadline_s=deadline_s)
            pending = self._sql(parameters.PENDING, deadline_s=deadline_s)
        except SqlError as e:
            raise ServerTrouble(str(e)) from e
        return (
            {name or "": int(value or 0) for name, value in running},
            {name or "": (now or "", coming or "") for name, now, coming in pending},
        )

    def facts(self, values: Mapping[str, str]) -> Mapping[str, Fact]:
        """See `ports_parameters.Parameters.facts`."""
        if not values:
            return {}
        deadline_s = self._clock.now_s() + 2 * ASK_S
        try:
            rows = self._sql(parameters.facts_sql(list(values)), deadline_s=deadline_s)
            found = dict(parameters.fact_of(row) for row in rows)
            return {name: self._tried(name, values[name], fact, deadline_s) for name, fact in found.items()}
        except (SqlError, ValueError) as e:
            raise ServerTrouble(str(e)) from e

    def _tried(self, name: str, value: str, fact: Fact, deadline_s: float) -> Fact:
        """The server's own word, where a session may set it for a moment."""
        if fact.context not in ("user", "superuser") or value == parameters.DEFAULT:
            return fact
        try:
            self._sql(parameters.try_sql(name, value), deadline_s=deadline_s)
        except SqlError as e:
            if not e.sqlstate:
                raise
            return replace(fact, refusal=str(e).splitlines()[0].removeprefix("ERROR:").strip()[:200])
        return fact


def _read(path: str) -> Configured:
    """What was noted; nothing when there is no note, or none that can be read."""
    try:
        with open(path, encoding="utf-8") as f:
            body = json.load(f)
        found = Configured(
            int(body["revision"]), dict(body["values"]), int(body["good_revision"]), dict(body["good_values"])
        )
    except (OSError, ValueError, TypeError, KeyError):
        return Configured()
    texts = (*found.values.items(), *found.good_values.items())
    return found if all(isinstance(text, str) for pair in texts for text in pair) else Configured()
