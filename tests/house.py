"""The tables of the house: which part may import, call and be as large as what.

A table maps a thing to the files (patterns under `pgha/`) that are its doors. A new file takes its place here before it
takes its place in the tree. `tests/test_architecture.py` reads these tables, and shows for each rule that it bites.
"""

from __future__ import annotations

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# -- layers: a part may import itself, and what stands here -----------------------------------------------------

_VALUES = {"errors", "core"}
_KNOWLEDGE = _VALUES | {"ports", "host", "pg", "records", "nodefile"}

LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "core": set(),
    "nodefile": set(),
    "ports": {"core"},
    "host": _VALUES | {"ports"},  # the port through which bootstrap touches a host
    "records": {"core"},
    "pg": {"core", "nodefile"},
    "inventory": _VALUES | {"nodefile"},
    "adapters": _KNOWLEDGE,
    "watchdog": _KNOWLEDGE,
    "ops": _KNOWLEDGE | {"inventory"},
    "render": _KNOWLEDGE | {"inventory", "ops"},
    "cli": _KNOWLEDGE | {"inventory", "ops", "render"},
    "__main__": {"cli", "watchdog"},
    "__init__": set(),
}

# The composition roots, one a process: the CLI, the watchdog (guard, agent), and the small processes that the CLI
# starts (a drill's judge and its hand on a node, SQL as another account, the demo's stand-in for cron). Only they may
# name an adapter.
_PROCESSES = ("ops/judge_main.py", "ops/judge_writer.py", "ops/sql_main.py", "ops/restarter.py", "ops/drill_main.py")
ROOTS = ("cli/*.py", "watchdog/main.py", "watchdog/agent_main.py", *_PROCESSES)

# The guard outlives a broken installation: standard library, its own modules, and values that know nothing.
GUARD = ("watchdog/guard*.py",)
GUARD_KNOWS = ("pgha.watchdog.guard*", "pgha.watchdog", "pgha.errors.*")

# -- doors: imports ---------------------------------------------------------------------------------------------

_ADAPTERS = "adapters/*.py"
_LOCAL = ("adapters/local*.py", "adapters/binaries.py", "adapters/journal.py", *GUARD, "watchdog/main.py")
# An operator's move waits, with a deadline.
_MOVES = ("switchover", "status", "bootstrap", "procs", "demo", "drill*", "logs", "founding", "giving_back")
_WAITING = tuple(f"ops/{n}.py" for n in _MOVES)
_LINK = "watchdog/link.py"  # the agent's end of the pipe to its guard
_CLOCKED = (_ADAPTERS, *GUARD, _LINK, "watchdog/main.py", "watchdog/agent_main.py", "cli/*.py", *_PROCESSES, *_WAITING)
# Where ids and passwords are made.
_CHANCE = (
    _ADAPTERS,
    "watchdog/agent_main.py",
    "cli/*.py",
    *(
        f"ops/{n}.py"
        for n in (
            *("adopting", "etcd_changes", "fleet", "founding", "host_fleet"),
            *("newdata", "newstore", "node_orders", "parameters", "restart_journal", "scheduling", "switchover"),
        )
    ),
)
# The local half of the moves: looks at /proc and at the files of nodes on this machine.
_THIS_MACHINE = ("ops/procs.py", "ops/local_nodes.py", "ops/preflight.py", "ops/demo.py")

IMPORTS: dict[str, tuple[str, ...]] = {
    # third party; a module that stands nowhere here may be imported nowhere
    "fabric": ("adapters/ssh.py",),
    "paramiko": ("adapters/ssh.py",),
    "invoke": ("adapters/ssh.py",),
    "cryptography": ("adapters/certificates.py",),
    "etcd3": ("adapters/etcd*.py",),
    "grpc": ("adapters/etcd*.py",),
    "psycopg": ("adapters/database*.py", "adapters/client.py"),
    "yaml": ("inventory*.py",),
    "rich": (),
    "typer": ("cli/*.py",),
    # standard library: processes, time, network, chance, files
    "subprocess": ("adapters/local*.py", "adapters/binaries.py", "adapters/journal.py", "adapters/pack.py"),
    "signal": (*_LOCAL, "ops/procs.py", "ops/drill_*.py"),
    "multiprocessing": (),
    "asyncio": (),
    "ctypes": GUARD,
    "time": (*_CLOCKED, "render.py"),
    "threading": (
        _ADAPTERS,
        _LINK,
        "watchdog/agent_main.py",
        "ops/status.py",
        "ops/demo.py",
        "ops/together.py",
        "ops/logs.py",
        "cli/asking.py",
    ),
    "concurrent": (),
    "socket": (_ADAPTERS, *GUARD, _LINK, "cli/ordering.py"),  # the last one: who asked, by host name
    "select": (_ADAPTERS, *GUARD, "ops/judge_main.py"),
    "termios": ("adapters/keyboard.py",),
    "tty": ("adapters/keyboard.py",),
    "selectors": (),
    "fcntl": (_ADAPTERS, *GUARD, "watchdog/main.py", "ops/restarter.py"),
    "random": (),
    "secrets": _CHANCE,
    "uuid": (),
    "shutil": (_ADAPTERS, "cli/*.py", "render.py", "ops/demo.py"),
    "tempfile": (_ADAPTERS, "cli/main.py"),
    "pickle": (),
}

# -- doors: names that are used (called, or passed on) ----------------------------------------------------------

_FILES = (_ADAPTERS, *GUARD, "watchdog/main.py", "watchdog/agent_main.py", "cli/*.py", *_PROCESSES, *_THIS_MACHINE)
# Times that are shown or logged; never for deciding.
_WALL_CLOCK = (
    "render.py",
    "cli/*.py",
    "adapters/certificates.py",  # from when to when one is good
    "adapters/local*.py",
    "adapters/journal.py",
    "watchdog/agent_main.py",
    "watchdog/guard_log.py",
    "ops/founding.py",
    "ops/logs.py",
    "ops/status.py",
    "ops/switchover.py",
)

NAMES: dict[str, tuple[str, ...]] = {
    "os.kill": _LOCAL,
    "os.killpg": _LOCAL,
    "os.fork": _LOCAL,
    "os.posix_spawn": _LOCAL,
    "os.execv": _LOCAL,
    "os.execve": _LOCAL,
    "os.execvp": _LOCAL,
    "os.waitpid": (*_LOCAL, "ops/restarter.py"),
    "os.setuid": _LOCAL,
    "os.system": (),
    "os.popen": (),
    "time.time": _WALL_CLOCK,
    # stands still in suspend: for the waits of commands, never for a lease (Clock.now_s)
    "time.monotonic": (_ADAPTERS, "ops/*.py", "cli/*.py", "render.py"),
    "datetime.datetime.now": _WALL_CLOCK,
    "datetime.datetime.utcnow": (),
    "os.urandom": GUARD,  # its incarnation; the module secrets costs start-up time
    "print": ("render.py", "cli/*.py", *_PROCESSES),
    "input": ("cli/*.py",),
    "open": _FILES,
    "os.open": _FILES,
    "os.remove": _FILES,
    "os.unlink": _FILES,
    "os.rename": _FILES,
    "os.replace": _FILES,
    "os.mkdir": _FILES,
    "os.rmdir": _FILES,
    "os.makedirs": _FILES,
    "os.listdir": _FILES,
    "os.scandir": _FILES,
    "os.symlink": _FILES,
    "eval": (),
    "exec": (),
    "NotImplementedError": (),
    "typing.Any": (),
    "sys.exit": ("__main__.py", "cli/*.py", "watchdog/main.py", "watchdog/agent_main.py", *GUARD, *_PROCESSES),
}

# Methods that touch files whatever they are called on (pathlib).
PATH_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "rmdir", "touch", "iterdir"}

# -- the loops that may catch everything: file, function --------------------------------------------------------

CATCH_ALL: set[tuple[str, str]] = {
    ("cli/main.py", "run"),  # a bug: traceback kept, exit code 1
    ("watchdog/agent_main.py", "_tick"),  # the agent's loop goes on; the guard's deadline does not depend on it
    ("watchdog/agent_main.py", "_beat"),  # its renewals beside it: the same
}

# -- start-up: module, and what importing it must not load ------------------------------------------------------

HEAVY = ("fabric", "paramiko", "invoke", "psycopg", "etcd3", "grpc", "yaml", "rich")
START: dict[str, tuple[str, ...]] = {
    "pgha.cli.main": HEAVY,
    "pgha.watchdog.main": (*HEAVY, "typer"),
    "pgha.watchdog.agent_main": ("typer", "rich", "fabric", "paramiko", "yaml"),
}
