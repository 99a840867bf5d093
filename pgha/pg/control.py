"""pg_control and timeline history files, parsed. Pure: callers read the files and run the programs."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import reduce

from pgha.core.model import parse_lsn

SHUTDOWNED = 1
LIMITS_AT = 180  # MaxConnections and the four that follow
HEAD_BYTES = 512  # PG_CONTROL_MAX_SAFE_SIZE: what PostgreSQL itself relies on being written as a whole

_CRC32C = tuple(
    reduce(lambda crc, _: (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0), range(8), number) for number in range(256)
)


@dataclass(frozen=True, slots=True)
class RawControl:
    """pg_control's first fields, the same in 13 to 18 (src/include/catalog/pg_control.h).

    state: DBState; checkpoint: LSN where the last checkpoint record begins; timeline: of that checkpoint.
    limits: what a standby must not have less of than its primary, in the order of core.limits.ORDERED.
    """

    system: str
    state: int
    checkpoint: int
    timeline: int
    limits: tuple[int, ...] = ()


def parse_raw(head: bytes) -> RawControl | None:
    """The first 512 bytes of pg_control; None when cut, torn or not one.

    The CRC-32C over all that precedes it stands at a place that differs between versions: one place must fit.
    """
    if len(head) < HEAD_BYTES:
        return None
    crc = 0xFFFFFFFF
    for at in range(HEAD_BYTES - 4):
        if at >= 128 and at % 4 == 0 and struct.unpack_from("=I", head, at)[0] == crc ^ 0xFFFFFFFF:
            system, _, _, state = struct.unpack_from("=QIIi", head, 0)
            checkpoint, _, timeline = struct.unpack_from("=QQI", head, 32)
            return RawControl(str(system), state, checkpoint, timeline, struct.unpack_from("=5i", head, LIMITS_AT))
        crc = (crc >> 8) ^ _CRC32C[(crc ^ head[at]) & 0xFF]
    return None


@dataclass(frozen=True, slots=True)
class Control:
    """What pg_controldata says, as far as pgha asks."""

    system: str
    state: str
    checkpoint: int
    timeline: int


def parse_control(text: str) -> Control:
    """Output of pg_controldata in the C locale. Raises ValueError."""
    fields = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip()] = value.strip()
    try:
        return Control(
            system=fields["Database system identifier"],
            state=fields["Database cluster state"],
            checkpoint=parse_lsn(fields["Latest checkpoint location"]),
            timeline=int(fields["Latest checkpoint's TimeLineID"]),
        )
    except KeyError as e:
        raise ValueError(f"pg_controldata said nothing of {e}") from e


def history_name(timeline: int) -> str:
    """The name of a timeline's history file."""
    return f"{timeline:08X}.history"


def parse_history(text: str) -> tuple[tuple[int, int], ...]:
    """(timeline, LSN where it was left), oldest first. Raises ValueError. Empty files give nothing."""
    forks = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(None, 2)
        if words:
            if len(words) < 2:
                raise ValueError(f"not a line of a history file: {line!r}"[:120])
            forks.append((int(words[0]), parse_lsn(words[1])))
    return tuple(forks)
