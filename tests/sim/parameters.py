"""`ports_parameters.Parameters` that remembers what it is told: nothing the simulator looks at rests on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pgha.core.limits import BUILT_IN
from pgha.core.model import Fact
from pgha.ports_parameters import Configured


class SimParameters:
    """One agent's view; the files are taken to be as the last agent left them, which is as good as any."""

    def __init__(self) -> None:
        self.now = Configured()

    def configure(self, revision: int, values: Mapping[str, str]) -> None:
        """Written."""
        self.now = replace(self.now, revision=revision, values=dict(values))

    def keep_good(self) -> None:
        """Proved."""
        self.now = replace(self.now, good_revision=self.now.revision, good_values=self.now.values)

    def floor(self) -> Mapping[str, int]:
        """PostgreSQL's defaults."""
        return dict(BUILT_IN)

    def limits(self) -> tuple[Mapping[str, int], Mapping[str, tuple[str, str]]]:
        """The same, and nothing waits."""
        return dict(BUILT_IN), {}

    def facts(self, values: Mapping[str, str]) -> Mapping[str, Fact]:
        """No server, no facts."""
        return {}
