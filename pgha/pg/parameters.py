"""PostgreSQL parameters that `pgha config` may change: which, and whether a value would do. Pure; SQL as text.

An allowlist, kept by the command and by every node: nothing in the store can name a program, a file, a library, an
address or a login (design, section 4). Ranges and units are not known here but asked of the running servers
(pg_settings), each by its own version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pgha.core.limits import ORDERED
from pgha.core.model import Fact

DEFAULT = "default"  # as a value: the inventory's or PostgreSQL's own

_PLAIN = """
max_connections superuser_reserved_connections reserved_connections max_worker_processes max_parallel_workers
max_parallel_workers_per_gather max_parallel_maintenance_workers max_wal_senders max_replication_slots
max_prepared_transactions max_locks_per_transaction max_pred_locks_per_transaction max_pred_locks_per_relation
max_pred_locks_per_page max_logical_replication_workers max_sync_workers_per_subscription
max_parallel_apply_workers_per_subscription max_files_per_process
shared_buffers huge_pages temp_buffers work_mem hash_mem_multiplier maintenance_work_mem autovacuum_work_mem
logical_decoding_work_mem max_stack_depth min_dynamic_shared_memory temp_file_limit vacuum_buffer_usage_limit
wal_level wal_compression wal_buffers wal_writer_delay wal_writer_flush_after wal_skip_threshold commit_delay
commit_siblings synchronous_commit checkpoint_timeout checkpoint_completion_target checkpoint_flush_after
checkpoint_warning max_wal_size min_wal_size max_slot_wal_keep_size track_commit_timestamp hot_standby_feedback
bgwriter_delay bgwriter_lru_maxpages bgwriter_lru_multiplier bgwriter_flush_after backend_flush_after
effective_io_concurrency maintenance_io_concurrency io_method io_workers io_combine_limit io_max_combine_limit
io_max_concurrency
seq_page_cost random_page_cost cpu_tuple_cost cpu_index_tuple_cost cpu_operator_cost effective_cache_size
parallel_setup_cost parallel_tuple_cost min_parallel_table_scan_size min_parallel_index_scan_size
default_statistics_target constraint_exclusion cursor_tuple_fraction from_collapse_limit join_collapse_limit
plan_cache_mode recursive_worktable_factor geqo geqo_threshold geqo_effort geqo_pool_size geqo_generations
geqo_selection_bias jit jit_above_cost jit_inline_above_cost jit_optimize_above_cost parallel_leader_participation
autovacuum vacuum_cost_delay vacuum_cost_page_hit vacuum_cost_page_miss vacuum_cost_page_dirty vacuum_cost_limit
vacuum_freeze_min_age vacuum_freeze_table_age vacuum_multixact_freeze_min_age vacuum_multixact_freeze_table_age
vacuum_failsafe_age vacuum_multixact_failsafe_age
log_min_messages log_min_error_statement log_min_duration_statement log_min_duration_sample log_statement
log_statement_sample_rate log_transaction_sample_rate log_autovacuum_min_duration log_checkpoints log_connections
log_disconnections log_duration log_error_verbosity log_hostname log_line_prefix log_lock_waits
log_recovery_conflict_waits log_parameter_max_length log_parameter_max_length_on_error log_replication_commands
log_temp_files log_timezone log_startup_progress_interval
track_activities track_activity_query_size track_counts track_io_timing track_wal_io_timing track_functions
compute_query_id stats_fetch_consistency
statement_timeout lock_timeout idle_in_transaction_session_timeout deadlock_timeout default_transaction_isolation
default_transaction_deferrable default_text_search_config default_toast_compression bytea_output datestyle intervalstyle
timezone extra_float_digits client_min_messages search_path gin_fuzzy_search_limit gin_pending_list_limit row_security
"""
ALLOWED = frozenset(_PLAIN.split())
_PREFIXES = ("autovacuum_", "enable_")

_KB, _MINUTE = 1024, 60_000_000
BYTES = {"B": 1, "kB": _KB, "MB": _KB**2, "GB": _KB**3, "TB": _KB**4}
TIMES = {"us": 1, "ms": 1000, "s": 1_000_000, "min": _MINUTE, "h": 60 * _MINUTE, "d": 1440 * _MINUTE}
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_FLAGS = ("on", "off", "true", "false", "yes", "no")


def is_allowed(name: str) -> bool:
    """May stand in the settings of the store."""
    return name in ALLOWED or (name.startswith(_PREFIXES) and re.fullmatch(r"[a-z_]{1,62}", name) is not None)


def taken(values: Mapping[str, str]) -> dict[str, str]:
    """What of these a node takes from the store: allowed names, printable values."""
    return {name: value for name, value in sorted(values.items()) if is_allowed(name) and value.isprintable()}


def needs_start(fact: Fact) -> bool:
    """A change comes into force with a start of the server only."""
    return fact.context == "postmaster"


def problem(value: str, fact: Fact) -> str:
    """Why a server that says this of the parameter would not take the value; empty when it would."""
    if fact.context == "internal":
        return "nobody can change it"
    found = {"bool": _flag, "enum": _word, "integer": _number, "real": _number}.get(fact.kind, _anything)(value, fact)
    return found or fact.refusal


def _anything(_value: str, _fact: Fact) -> str:
    return ""


def _flag(value: str, _fact: Fact) -> str:
    text = value.strip().lower()
    # PostgreSQL takes any unambiguous beginning of these words; `o` alone is none.
    good = text in ("1", "0") or (text not in ("", "o") and any(word.startswith(text) for word in _FLAGS))
    return "" if good else "it is on or off"


def _word(value: str, fact: Fact) -> str:
    # pg_settings hides some of the words that are taken (true for on, say): those the server itself judges.
    text = value.strip().lower()
    hidden = text in (*_FLAGS, "1", "0") and {"on", "off"} & set(fact.words)
    return "" if text in (word.lower() for word in fact.words) or hidden else f"one of {', '.join(fact.words)}"


def _number(value: str, fact: Fact) -> str:
    match = _NUMBER.fullmatch(value)
    if match is None:
        return "it is a number" + (f", with a unit like {fact.unit}" if fact.unit else "")
    number = float(match[1])
    if match[2]:
        scale = _scale(match[2], fact.unit)
        if scale is None:
            return _units(fact.unit)
        number *= scale
    if fact.kind == "integer":
        number = round(number)
    least, most = float(fact.least or "-inf"), float(fact.most or "inf")
    if not least <= number <= most:
        unit = f" (in {fact.unit})" if fact.unit else ""
        return f"it is between {fact.least} and {fact.most}{unit}"
    return ""


def _scale(given: str, base: str) -> float | None:
    """How many of the parameter's unit one of the given unit is; None when they measure different things."""
    match = re.fullmatch(r"(\d*)([A-Za-z]+)", base)
    if match is None:
        return None
    for units in (BYTES, TIMES):
        if given in units and match[2] in units:
            return units[given] / (units[match[2]] * int(match[1] or 1))
    return None


def _units(base: str) -> str:
    match = re.fullmatch(r"\d*([A-Za-z]+)", base)
    for units in (BYTES, TIMES):
        if match is not None and match[1] in units:
            return f"its units are {', '.join(units)}"
    return "it has no unit"


# -- SQL -------------------------------------------------------------------------------------------------------


def literal(text: str) -> str:
    """A string constant, whatever standard_conforming_strings says. Raises ValueError for NUL."""
    if "\x00" in text:
        raise ValueError("no text for SQL")
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(literal(name) for name in names)


def facts_sql(names: Sequence[str]) -> str:
    """A row for each of these that the server knows."""
    return f"""SELECT lower(name), current_setting(name), vartype, context, coalesce(unit, ''), coalesce(min_val, ''),
 coalesce(max_val, ''), coalesce(array_to_string(enumvals, ','), '') FROM pg_settings
 WHERE lower(name) IN ({_listed(names)})"""  # noqa: S608  # names are checked, values quoted


def fact_of(row: Sequence[str | None]) -> tuple[str, Fact]:
    """A row of `facts_sql`."""
    name, value, kind, context, unit, least, most, words = (text or "" for text in row)
    return name, Fact(value, kind, context, unit, least, most, tuple(words.split(",")) if words else ())


def try_sql(name: str, value: str) -> str:
    """Sets a session's parameter for the time of this statement: the server's own check of the value."""
    return f"SELECT set_config({literal(name)}, {literal(value)}, true)"


LIMITS = f"SELECT name, setting FROM pg_settings WHERE name IN ({_listed(ORDERED)})"  # noqa: S608

PENDING = """SELECT name, running, coalesce(filed, 'default') FROM (
 SELECT lower(s.name) AS name, current_setting(s.name) AS running, s.setting = s.boot_val AS is_default,
 (SELECT f.setting FROM pg_file_settings f WHERE lower(f.name) = lower(s.name) ORDER BY f.seqno DESC LIMIT 1) AS filed
 FROM pg_settings s WHERE s.pending_restart) x WHERE filed IS NOT NULL OR NOT is_default"""
"""What waits for a start: running, coming. PostgreSQL marks every parameter that has left its file, also one that was
never in force from there (guc-file.l, ProcessConfigFileInternal)."""

REFUSED = """SELECT coalesce(f.name, 'line ' || f.sourceline), f.error FROM pg_file_settings f
 WHERE f.error IS NOT NULL AND f.sourcefile = {path}
 AND NOT EXISTS (SELECT FROM pg_settings s WHERE lower(s.name) = lower(f.name) AND s.context = 'postmaster')"""
"""What a reload would refuse of a file. With one unknown name it would take nothing of any file."""


def refused_sql(path: str) -> str:
    """`REFUSED` of this file."""
    return REFUSED.format(path=literal(path))
