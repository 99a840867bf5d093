"""pg_control and timeline history files, parsed. Pure: callers read the files and run the programs."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pgha.core.model import parse_lsn

SHUTDOWNED = 1
SHUTDOWNED_IN_RECOVERY = 2


def raw_state(head: bytes) -> int:
    """DBState of pg_control's first bytes (src/include/catalog/pg_control.h, the same place in 13 to 18); -1 if cut.

    A hint only: it is not protected against a torn read; pg_controldata checks the CRC.
    """
    if len(head) < 20:
        return -1
    value: int = struct.unpack_from("=i", head, 16)[0]
    return value


def raw_system(head: bytes) -> str:
    """The system identifier of pg_control's first 8 bytes; empty if cut."""
    return str(struct.unpack_from("=Q", head, 0)[0]) if len(head) >= 20 else ""


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
