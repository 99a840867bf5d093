"""The seam to the parameters of a node's server: what its files hold, and what it says of them.

Real: `adapters/server_parameters.py`; the simulator's: `tests/sim/parameters.py`. May import `pgha.core` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pgha.core.model import Fact


@dataclass(frozen=True, slots=True)
class Configured:
    """Parameters of the settings in the server's files, and of the last revision a server came up with (-1: none)."""

    revision: int = -1
    values: Mapping[str, str] = field(default_factory=dict)
    good_revision: int = -1
    good_values: Mapping[str, str] = field(default_factory=dict)


class Parameters(Protocol):
    """The settings' parameters in the files of the node's server. Every method is bounded."""

    @property
    def now(self) -> Configured:
        """What the server's files hold of the settings, and the last that a server came up with."""
        ...

    def configure(self, revision: int, values: Mapping[str, str]) -> None:
        """Write these parameters into the server's files; a server that runs has read them first, and reads them again.

        Raises ServerTrouble when it would not take them: nothing has changed then.
        """
        ...

    def keep_good(self) -> None:
        """What the files hold has proved good: a server came up with it."""
        ...

    def floor(self) -> Mapping[str, int]:
        """What pg_control asks of a standby, by core.limits.ORDERED; empty when it can't be read."""
        ...

    def limits(self) -> tuple[Mapping[str, int], Mapping[str, tuple[str, str]]]:
        """What the running server has of core.limits.ORDERED, and what waits for its restart: running, coming.

        Raises ServerTrouble when it does not answer.
        """
        ...

    def facts(self, values: Mapping[str, str]) -> Mapping[str, Fact]:
        """What the running server says of these parameters and values; changes nothing. Raises ServerTrouble."""
        ...
