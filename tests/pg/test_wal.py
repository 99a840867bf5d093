"""WAL: the file of an LSN, and where a record ends, also across pages and segments."""

from __future__ import annotations

import pytest

from pgha.pg.wal import PAGE, record_end, segment_name

MB = 1 << 20


@pytest.mark.parametrize(
    ("timeline", "lsn", "size", "name"),
    [
        (1, 0x16B3748, 16 * MB, "000000010000000000000001"),
        (5, 0x5000028, 16 * MB, "000000050000000000000005"),
        (0x1F, 0x3_0A000000, 16 * MB, "0000001F000000030000000A"),
        (2, 0x1_00100000, MB, "000000020000000100000001"),
    ],
)
def test_the_file_of_an_lsn(timeline: int, lsn: int, size: int, name: str) -> None:
    assert segment_name(timeline, lsn, size) == name


@pytest.mark.parametrize(
    ("start", "length", "end"),
    [
        (16 * MB + 40, 114, 16 * MB + 160),  # a checkpoint record at a segment's begin: 114 bytes, aligned to 120
        (2 * PAGE + 24, 8, 2 * PAGE + 32),
        (3 * PAGE - 114 - 6, 114, 3 * PAGE),  # it fits to the last byte of the page
        (3 * PAGE - 64, 114, 3 * PAGE + 24 + 56),  # 64 bytes here, 50 behind the next page's header
        (32 * MB - 64, 114, 32 * MB + 40 + 56),  # the next page begins a segment
        (3 * PAGE - 8, 2 * PAGE, 5 * PAGE + 24 + 40),  # 8 bytes here, 8168 on each page, the rest on the next
    ],
)
def test_the_end_of_a_record(start: int, length: int, end: int) -> None:
    assert record_end(start, length, 16 * MB) == end
