"""`pgha watchdog`: takes the node's lock and becomes the guard, or exits at once because another one has it.

Until the lock is held it imports next to nothing (cron starts it every minute). May import errors, nodefile and,
once it has the lock, the guard.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgha.watchdog.guard_restart import Handover

USAGE = """Usage: pgha watchdog --node FILE [--foreground | --stop | --restart | --leave] [--within SECONDS]

Keeps PostgreSQL on this node highly available; cron starts it every minute. Exits 0 at once when it runs already.
  --node FILE        the node's file, /etc/pgha/CLUSTER.json
  --foreground       do not leave the terminal (for systemd)
  --stop             ask the running watchdog for an orderly stop and wait for its end
  --restart          replace the running watchdog by the version that is installed now; PostgreSQL and its clients
                     do not notice
  --leave            end the watchdog and leave a server that was taken over (bootstrap --adopt) as it runs
  --within SECONDS   how long these wait (15)
"""
_READY_S = 10.0
_SIGNED = 40
_OK, _USAGE, _REFUSED, _UNKNOWN = 0, 2, 4, 6  # pgha.errors.Exit; spares the import


class _Problem(Exception):
    """What goes to the operator: what / because / next_step, with the exit code."""

    def __init__(self, what: str, because: str, next_step: str, code: int = _REFUSED) -> None:
        super().__init__(what)
        self.text = f"error: {what}\nbecause: {because}\nnext: {next_step}\n"
        self.code = code


def main(args: Sequence[str], agent_argv: Sequence[str] | None = None) -> int:
    """The command; gives the exit code. agent_argv: another agent than pgha's own (for tests)."""
    try:
        if not args or args[0] in ("-h", "--help"):
            sys.stdout.write(USAGE)
            return _OK if args else _USAGE
        options = _options(args)
        node_file = os.path.abspath(options["--node"])
        state_dir = _state_dir(node_file)
        within_s = float(options.get("--within", "15"))
        if "--stop" in options:
            return _stop(state_dir, within_s)
        if "--leave" in options:
            return _leave(node_file, state_dir, within_s)
        if "--restart" in options:
            return _restart(node_file, state_dir, within_s)
        past = options.get("--resume") or options.get("--rehearse") or ""
        lock = -1 if past else _lock(f"{state_dir}/watchdog.lock")
        if lock < 0 and not past:
            return _OK
        life = _Life(args, node_file, state_dir, _data_dir(node_file), agent_argv, foreground="--foreground" in options)
        if "--rehearse" in options:
            _handed_over(life, past)
            return _OK
        if past:
            return _guard(life, lock, handover=_handed_over(life, past))
        return _guard(life, lock) if life.foreground else _in_background(life, lock)
    except _Problem as e:
        sys.stderr.write(e.text)
        return e.code


def _options(args: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    rest = list(args)
    while rest:
        name = rest.pop(0)
        if name in ("--node", "--within", "--resume", "--rehearse") and rest:
            options[name] = rest.pop(0)
        elif name in ("--foreground", "--stop", "--restart", "--leave"):
            options[name] = ""
        else:
            raise _Problem(f"unexpected {name}", "it is no option, or lacks its value", "pgha watchdog --help", _USAGE)
    if "--node" not in options:
        raise _Problem("no node file was named", "--node is missing", "pgha watchdog --help", _USAGE)
    if not options.get("--within", "15").replace(".", "", 1).isdigit():
        raise _Problem("--within is no number of seconds", f"it is {options['--within']}", "pass e.g. 15", _USAGE)
    return options


def _read(node_file: str) -> str:
    try:
        with open(node_file, encoding="utf-8") as f:
            return f.read()
    except (OSError, UnicodeDecodeError) as e:
        because = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise _Problem(f"{node_file} can't be read", because, f"ls -l {node_file}", _USAGE) from e


def _state_dir(node_file: str) -> str:
    """Only what the lock needs: the whole file is checked once the lock is held."""
    try:
        body: object = json.loads(_read(node_file))
    except ValueError as e:
        raise _bad(node_file, str(e)) from e
    state_dir = body.get("state_dir") if isinstance(body, dict) else None
    if not isinstance(state_dir, str) or not os.path.isabs(state_dir):
        raise _bad(node_file, "state_dir is missing or no absolute path")
    return state_dir


def _data_dir(node_file: str) -> str:
    from pgha.nodefile import parse

    try:
        node = parse(_read(node_file))
        texts: tuple[object, ...] = (node.cluster, node.node, node.data_dir, node.socket_dir, node.bin_dir)
        if not all(isinstance(text, str) and text for text in texts):
            raise ValueError("cluster, node, data_dir, socket_dir and bin_dir must be texts, and not empty")
        if not os.path.isabs(node.data_dir):
            raise ValueError(f"data_dir is no absolute path: {node.data_dir}")
    except ValueError as e:
        raise _bad(node_file, str(e)) from e
    return node.data_dir


def _bad(node_file: str, because: str) -> _Problem:
    return _Problem(f"{node_file} is not a usable node file", because, "write it anew: pgha bootstrap", _USAGE)


def _lock(path: str) -> int:
    """The descriptor that holds the lock; -1 when somebody else has it. Never inherited through an exec."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    except OSError as e:
        directory = os.path.dirname(path)
        raise _Problem(f"no lock at {path}", e.strerror or str(e), f"ls -ld {directory}; id") from e
    return fd


def _stop(state_dir: str, within_s: float) -> int:
    from pgha.watchdog.guard_stop import stop

    try:
        if not stop(f"{state_dir}/watchdog.lock", within_s=within_s):
            because = f"it had {within_s:g} s; its stop goes on"
            raise _Problem("the watchdog has not stopped yet", because, f"look at {state_dir}/guard.log", _UNKNOWN)
    except PermissionError as e:
        raise _Problem("the watchdog can't be stopped", str(e), "run it as the database's user") from e
    return _OK


def _leave(node_file: str, state_dir: str, within_s: float) -> int:
    from pgha.watchdog.guard_stop import leave

    try:
        gone = leave(f"{state_dir}/watchdog.lock", within_s=within_s)
    except PermissionError as e:
        raise _Problem("the watchdog can't be told to leave", str(e), "run it as the database's user") from e
    if not gone:
        because = "pgha has started the server: it ends with its watchdog"
        raise _Problem("the watchdog did not leave", because, f"pgha watchdog --node {node_file} --stop")
    return _OK


def _restart(node_file: str, state_dir: str, within_s: float) -> int:
    from pgha.watchdog.guard_stop import restart

    try:
        what = restart(f"{state_dir}/watchdog.lock", within_s=within_s)
    except PermissionError as e:
        raise _Problem("the watchdog can't be restarted", str(e), "run it as the database's user") from e
    if what == "absent":
        raise _Problem("no watchdog runs on this node", "nobody holds its lock", f"pgha watchdog --node {node_file}")
    if what == "late":
        because = (
            f"it had {within_s:g} s; it waits while a clone or rewind runs, and stays when the new one can't start"
        )
        raise _Problem("the watchdog is not replaced yet", because, f"look at {state_dir}/guard.log", _UNKNOWN)
    return _OK


class _Life:
    """What a guard is started with. again: how another one is started in its place, None when that can't be known."""

    def __init__(
        self,
        args: Sequence[str],
        node_file: str,
        state_dir: str,
        data_dir: str,
        agent_argv: Sequence[str] | None,
        *,
        foreground: bool,
    ) -> None:
        from pgha.watchdog.guard_restart import again_argv

        self.again = again_argv(args)
        self.node_file, self.state_dir, self.data_dir = node_file, state_dir, data_dir
        self.foreground = foreground
        self.agent_argv = agent_argv or [sys.executable, "-m", "pgha.watchdog.agent_main", "--node", node_file]


def _handed_over(life: _Life, text: str) -> Handover:
    """What the guard before has left. Raises _Problem when this version, or this node file, can't go on with it."""
    from pgha.watchdog import guard  # noqa: F401  # the rehearsal is worth what it loads
    from pgha.watchdog.guard_restart import Handover

    try:
        past = Handover.parse(text)
        if past.text("data_dir") != life.data_dir:
            raise ValueError(f"it runs the server in {past.text('data_dir')}, the node file names {life.data_dir}")
    except ValueError as e:
        next_step = f"pgha watchdog --node {life.node_file} --stop, then start it"
        raise _Problem("this version can't take over from the running guard", str(e), next_step) from e
    return past


def _guard(life: _Life, lock: int, *, ready: int = -1, handover: Handover | None = None) -> int:
    """Be the guard until an orderly stop; writes to `ready` (when not -1) once it is in force."""
    from pgha.watchdog.guard import Guard

    _import_from_here_too()
    os.chdir("/")
    output = None if life.foreground else f"{life.state_dir}/watchdog.log"
    past = handover
    if handover is None:
        past = _adopted(life, lock)
    else:
        lock = handover.count("lock")
        os.set_inheritable(lock, False)
    try:
        guard = Guard(
            data_dir=life.data_dir,
            log_file=f"{life.state_dir}/guard.log",
            agent_argv=life.agent_argv,
            agent_output=output,
            lock=lock,
            again=life.again,
            handover=past,
        )
        if handover is None:
            _sign(lock)
            if output:
                _leave_terminal(output)
    except OSError as e:
        where = life.state_dir
        raise _Problem("the watchdog could not start", str(e), f"ls -ld {where}; df {where}") from e
    if ready >= 0:
        os.write(ready, b".")
        os.close(ready)
    guard.run()
    return _OK


def _adopted(life: _Life, lock: int) -> Handover | None:
    """The running server that this node's first guard takes over. Raises _Problem when another one runs there."""
    from pgha.watchdog.guard_adopt import taken_over

    try:
        return taken_over(life.state_dir, life.data_dir, lock)
    except (ValueError, KeyError) as e:
        next_step = "pgha bootstrap --adopt, once more: it looks at the server anew"
        raise _Problem("the running server was not taken over", str(e), next_step) from e


def _sign(lock: int) -> None:
    """Pid and birth of the holder go into the lock, for --stop; a full disk is no reason to have no watchdog."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as f:
        born = f.read().rsplit(")", 1)[1].split()[19]
    with contextlib.suppress(OSError):
        os.pwrite(lock, f"{os.getpid()} {born}".ljust(_SIGNED).encode() + b"\n", 0)  # in place, and of one length
        os.ftruncate(lock, _SIGNED + 1)


def _in_background(life: _Life, lock: int) -> int:
    """Fork twice; this process ends once the guard is in force. The lock goes with the open file."""
    from pgha.watchdog.guard_os import await_readable

    ours, theirs = os.pipe()
    if os.fork():
        os.close(theirs)
        os.close(lock)
        if not await_readable(ours, _READY_S):
            because = f"it has the lock, but did not say so within {_READY_S:g} s"
            raise _Problem("the watchdog is not ready yet", because, f"look at {life.state_dir}/guard.log", _UNKNOWN)
        return _OK if os.read(ours, 1) else _REFUSED  # the guard has written its error itself
    os.setsid()
    if os.fork():
        os._exit(_OK)
    os.close(ours)
    return _guard(life, lock, ready=theirs)


def _leave_terminal(output: str) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    try:
        fd = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:  # a full disk: it works without a log
        fd = os.dup(null)
    os.dup2(null, 0)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    os.close(null)


def _import_from_here_too() -> None:
    """The agent is started in `/`: let it find this very pgha where it is not installed."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.basename(root) not in ("site-packages", "dist-packages"):
        known = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", root)]
        os.environ["PYTHONPATH"] = os.pathsep.join((root, *known))  # the same however often it is replaced
