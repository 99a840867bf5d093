"""Where WAL lies and where a record ends. Pure: src/include/access/xlogrecord.h, xlog_internal.h of 13 to 18."""

from __future__ import annotations

PAGE = 8192  # XLOG_BLCKSZ as everybody builds it
PAGE_HEADER = 24  # SizeOfXLogShortPHD
SEGMENT_HEADER = 40  # SizeOfXLogLongPHD, on the first page of a segment
ALIGN = 8


def segment_name(timeline: int, lsn: int, segment_bytes: int) -> str:
    """The file in pg_wal that holds this LSN."""
    number, per_file = lsn // segment_bytes, 0x100000000 // segment_bytes
    return f"{timeline:08X}{number // per_file:08X}{number % per_file:08X}"


def record_end(start: int, length: int, segment_bytes: int) -> int:
    """Where a record of `length` bytes (xl_tot_len) that begins at LSN `start` ends, as PostgreSQL reports it.

    A record goes on behind the header of the next page; its end is aligned.
    """
    at, left = start, length
    while (room := PAGE - at % PAGE) < left:
        left -= room
        at += room
        at += SEGMENT_HEADER if at % segment_bytes == 0 else PAGE_HEADER
    end = at + left
    return end + -end % ALIGN
