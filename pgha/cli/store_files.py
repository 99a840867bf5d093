"""The operator's own files for the store: what its inventory names, and what the cluster's hosts keep for it.

Passwords and keys are read from files or the environment, and written to files of mode 0600 only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pgha import nodefile
from pgha.errors import PghaError, UsageError
from pgha.ops.target import LOGIN_FILE, ROOT_LOGIN_FILE, STORE_FILES, TLS_DIR

if TYPE_CHECKING:
    from pgha.host import Remote
    from pgha.inventory import Inventory
    from pgha.inventory_model import Secret

Connect = Callable[[str], "Remote"]


def own_dir(cluster: str) -> str:
    """Where this operator keeps what belongs to a cluster: what lets him ask its store."""
    return os.path.expanduser(os.environ.get("XDG_STATE_HOME") or "~/.local/state") + f"/pgha/{cluster}"


def given(inventory: Inventory) -> Mapping[str, str]:
    """What the nodes need of the inventory's own files and secrets, by the names they keep it under.

    Raises UsageError for what can't be read.
    """
    etcd = inventory.etcd
    found: dict[str, str] = {}
    if etcd.endpoints:
        named = zip(STORE_FILES, (etcd.ca, etcd.cert, etcd.key), strict=True)
        found = {name: _text(path) for name, path in named if path}
    if etcd.password is not None and etcd.password.form != "generate":
        found[LOGIN_FILE] = _secret(etcd.password)
    return found


def _text(path: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as f:
            return f.read()
    except (OSError, UnicodeDecodeError) as e:
        why = (e.strerror or "") if isinstance(e, OSError) else "it is no text"
        raise UsageError(f"{path} can't be read", why, f"ls -l {path}; the inventory names it under etcd") from e


def _secret(secret: Secret) -> str:
    """Without the end of its line."""
    if secret.form == "file":
        text = _text(secret.source).rstrip("\r\n")
    else:
        text = os.environ.get(secret.source, "")
    if not text or "\n" in text:
        where = f"{secret.form}:{secret.source}"
        why = "it has more than one line" if text else "nothing is there"
        raise UsageError(f"etcd.password: {where} is no password", why, "put the password there, on one line")
    return text


def at_hand(
    inventory: Inventory, access: nodefile.StoreAccess, connect: Connect, *, anew: bool
) -> nodefile.StoreAccess:
    """The store's files where this operator may read them: on a node in place, else copies fetched by SSH.

    anew: fetch them even when there are copies (bootstrap may have made others).
    """
    if inventory.local is not None:
        return access
    if inventory.etcd.endpoints:
        ca, cert, key, password = (
            os.path.expanduser(path)
            for path in (access.ca_file, access.cert_file, access.key_file, access.password_file)
        )
        secret = inventory.etcd.password
        if secret is not None and secret.form == "env":
            password = _from_environment(inventory.cluster, secret)
        return replace(access, ca_file=ca, cert_file=cert, key_file=key, password_file=password)
    there = (access.ca_file, access.cert_file, access.key_file, access.password_file)
    if all(os.access(path, os.R_OK) for path in there):
        return access
    folder = own_dir(inventory.cluster)
    here = tuple(f"{folder}/{os.path.basename(path)}" for path in there)
    if anew or not all(os.path.isfile(path) for path in here):
        _fetch(inventory, dict(zip(there, here, strict=True)), connect)
    return replace(access, ca_file=here[0], cert_file=here[1], key_file=here[2], password_file=here[3])


def _from_environment(cluster: str, secret: Secret) -> str:
    """A file with it, so that a later command does without the variable."""
    from pgha.adapters.local import replace_file

    path = f"{own_dir(cluster)}/{LOGIN_FILE}"
    if secret.source in os.environ:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        replace_file(path, _secret(secret).encode(), 0o600)
    return path


def root_password(inventory: Inventory, connect: Connect) -> str:
    """Of the cluster's own etcd, from this very host or by SSH from the first one that has it; never kept here.

    Raises PghaError.
    """
    path = f"{TLS_DIR}/{inventory.cluster}/{ROOT_LOGIN_FILE}"
    if os.access(path, os.R_OK):
        return _text(path).strip()
    problem = PghaError(f"no host has {path}", "etcd's members are changed by its root only", "pgha bootstrap")
    for node in inventory.nodes:
        try:
            remote = connect(node.host)
            text = remote.as_user("root").read(path)
            remote.close()
        except PghaError as e:
            problem = e
            continue
        if text:
            return text.strip()
    raise problem


def _fetch(inventory: Inventory, files: Mapping[str, str], connect: Connect) -> None:
    """From the first host that can be reached and has them. Raises PghaError.

    A cluster of an older version has no password: its store asks for none.
    """
    from pgha.adapters.local import replace_file

    problem = PghaError(f"no host has the certificates of {inventory.cluster}", "", "pgha bootstrap")
    for node in inventory.nodes:
        try:
            remote = connect(node.host)
            root = remote.as_user("root")
            texts = {here: root.read(there) for there, here in files.items()}
            remote.close()
        except PghaError as e:
            problem = e
            continue
        if all(text for here, text in texts.items() if not here.endswith(LOGIN_FILE)):
            for here, text in texts.items():
                os.makedirs(os.path.dirname(here), mode=0o700, exist_ok=True)
                if text:
                    replace_file(here, text.encode(), 0o600)
            return
    raise problem
