"""The operator's editor, on a text of ours."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile

from pgha.errors import UsageError


def edited(text: str) -> str:
    """The text as it was saved. Raises UsageError when there is no editor, or it ended with an error."""
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    fd, path = tempfile.mkstemp(prefix="pgha-", suffix=".conf")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as f:
            f.write(text)
        try:
            done = subprocess.run([*words, path], check=False)
        except OSError as e:
            raise UsageError(f"the editor {words[0]} can't be run", e.strerror or "", "set EDITOR") from e
        if done.returncode:
            raise UsageError(f"{words[0]} ended with {done.returncode}", "nothing was changed")
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    finally:
        os.unlink(path)
