"""A directory of a test's own for processes of another user."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def work_dir(tmp_path: Path, user: str) -> Path:
    """A directory below `tmp_path` that this user can reach and, where the test may give it away, owns."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    work = tmp_path / "work"
    work.mkdir()
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.chown(work, account.pw_uid, account.pw_gid)
    return work
