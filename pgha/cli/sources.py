"""Where a command's cluster comes from, and the doors to store and machine: the CLI's composition root.

Adapters are named here, and imported only when they are asked for.
"""

from __future__ import annotations

import getpass
import glob
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pgha import nodefile, records
from pgha.cli import store_files
from pgha.cli.options import Choice
from pgha.errors import Exit, PghaError, Unreachable, UsageError
from pgha.ops.store_login import ROOT
from pgha.ops.target import Target, from_inventory, from_node_file

if TYPE_CHECKING:
    from pgha.adapters.ssh import SshConnection
    from pgha.inventory import Inventory
    from pgha.ops.bootstrap_run import Machine
    from pgha.ops.host_fleet import Distant
    from pgha.ports import Clock, Store, StoreMembers

SYSTEM_DIR = "/etc/pgha"
ROOT_DEMO = "/var/tmp/pgha-demo"  # noqa: S108  # refused unless empty or ours
SIZE_MAX = 1 << 20  # an inventory is a page or two; more is some other file
NEXT = "give -i FILE, or make a cluster to try with: pgha demo up"


def demo_dir() -> str:
    """Where `pgha demo` lives when nothing else is said."""
    if os.geteuid() == 0:
        return ROOT_DEMO
    return os.path.expanduser("~/.local/state/pgha/demo")


def _candidates() -> list[str]:
    """The places that are looked at without -i, in order; the first with a file wins."""
    own = sorted(glob.glob(f"{SYSTEM_DIR}/*.yaml")) or sorted(glob.glob(f"{SYSTEM_DIR}/*.json"))
    if os.path.isfile("inventory.yaml"):
        return ["inventory.yaml"]
    if len(own) > 1:
        raise UsageError(f"{SYSTEM_DIR} holds several clusters", ", ".join(own), "choose one with -i FILE")
    return own


def find(choice: Choice) -> tuple[str, str]:
    """(path, flags): which file names the cluster, and the flags a suggested command needs. Raises UsageError."""
    if choice.node:
        return choice.node, f"--node {choice.node} "
    if choice.inventory:
        return choice.inventory, f"-i {choice.inventory} "
    named = os.environ.get("PGHA_INVENTORY")
    if named:
        return named, ""
    found = _candidates()
    if found:
        return found[0], ""
    demo = f"{demo_dir()}/inventory.yaml"
    if os.path.isfile(demo):
        print(f"no inventory given: using the demo's, {demo}", file=sys.stderr)
        return demo, ""
    raise UsageError("no inventory", f"none in PGHA_INVENTORY, ./inventory.yaml, {SYSTEM_DIR}, and no demo is up", NEXT)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as f:
            raw = f.read(SIZE_MAX + 1)
    except OSError as e:
        raise UsageError(f"{path} can't be read", e.strerror or "", NEXT) from e
    if len(raw) > SIZE_MAX:
        raise UsageError(f"{path} is no inventory", f"larger than {SIZE_MAX >> 20} MB")
    return raw


def text_of(path: str) -> str:
    """A file's text, for showing lines of it."""
    return _read(path).decode(errors="replace")


def inventory_at(path: str) -> Inventory:
    """The inventory in this file. Raises UsageError or Findings."""
    from pgha import inventory

    return inventory.parse(inventory.decode(_read(path), path), path)


def inventory_of(choice: Choice) -> tuple[Inventory, str, str]:
    """(inventory, path, flags) for commands that need the whole of it. Raises UsageError for a node's own file."""
    path, flags = find(choice)
    if path.endswith(".json") or choice.node:
        raise UsageError(f"{path} is a node's own file", "this command needs the inventory", "give -i FILE")
    return inventory_at(path), path, flags


def target_of(choice: Choice) -> Target:
    """The cluster a command works on."""
    path, flags = find(choice)
    if not (path.endswith(".json") or choice.node):
        wanted = inventory_at(path)
        target = from_inventory(wanted, path, flags)
        return replace(target, store=reachable(wanted, target.store))
    try:
        return from_node_file(nodefile.parse(_read(path).decode()), path, flags)
    except ValueError as e:
        raise UsageError(f"{path} is not a node file of pgha", str(e)) from e


def with_own_files(inventory: Inventory, access: nodefile.StoreAccess, *, anew: bool = False) -> nodefile.StoreAccess:
    """See `store_files.at_hand`."""
    return store_files.at_hand(inventory, access, connector(inventory), anew=anew)


def reachable(inventory: Inventory, access: nodefile.StoreAccess) -> nodefile.StoreAccess:
    """The store as it is, or through the inventory's hosts by SSH when none of it answers from here."""
    if inventory.local is not None:
        return access
    access = with_own_files(inventory, access)
    from pgha.adapters.tunnel import Tunnels, is_direct

    if is_direct(access.endpoints):
        return access
    tunnels = Tunnels(connector(inventory), [n.host for n in inventory.nodes])
    try:
        return replace(access, endpoints=tunnels.local(access.endpoints))
    except Unreachable as e:
        print(f"neither the store nor a host answers: {e.what}", file=sys.stderr)
        return access


def clock() -> Clock:
    """The machine's."""
    from pgha.adapters.local import SystemClock

    return SystemClock()


def open_store(access: nodefile.StoreAccess) -> Store:
    """etcd."""
    from pgha.adapters.etcd import EtcdStore

    return EtcdStore(access, clock())


def kept_revisions(target: Target, *, within_s: float) -> int:
    """How many revisions the store keeps if it has never forgotten one; 0 otherwise, and when it gives no answer."""
    from pgha.adapters.etcd import EtcdStore
    from pgha.ports import StoreDown

    now, store = clock(), EtcdStore(target.store, clock())
    try:
        return store.kept_revisions(records.prefix(target.cluster), deadline_s=now.now_s() + within_s)
    except StoreDown:
        return 0
    finally:
        store.close()


def open_members(inventory: Inventory, access: nodefile.StoreAccess) -> StoreMembers:
    """etcd's own list of its members, changed as etcd's root where the cluster's etcd asks for a login."""
    from pgha.adapters.etcd_membership import EtcdMembership

    if inventory.local is not None or inventory.etcd.endpoints:
        return EtcdMembership(access, clock())
    root = replace(access, user=ROOT)
    return EtcdMembership(root, clock(), lambda: store_files.root_password(inventory, connector(inventory)))


def machine_for(inventory: Inventory) -> Machine:
    """This machine, as the inventory's local user, and the way to the inventory's hosts."""
    from pgha.adapters.binaries import MachineBinaries
    from pgha.adapters.etcd_accounts import EtcdAccounts
    from pgha.adapters.local import JsonKeep, LocalHost
    from pgha.ops.bootstrap_run import Machine

    host = LocalHost(inventory.local.user) if inventory.local else LocalHost.anybody()
    spec = inventory.postgres
    return Machine(
        host=host,
        binaries=MachineBinaries(spec.bin_dir or "", spec.version, inventory.etcd.bin_dir or ""),
        clock=clock(),
        python=sys.executable,
        open_store=lambda access: open_store(reachable(inventory, with_own_files(inventory, access, anew=True))),
        open_accounts=lambda access: EtcdAccounts(reachable(inventory, access), clock()),
        keep=lambda path: JsonKeep(path, host.owner),
        distant=None if inventory.local else distant_for(inventory),
        open_members=lambda access: open_members(inventory, reachable(inventory, access)),
    )


def cache_dir() -> str:
    """Where what can be made again is kept."""
    return os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache") + "/pgha"


def connector(inventory: Inventory) -> Callable[[str], SshConnection]:
    """Connects to a host of the inventory by its address."""
    from pgha.adapters import ssh

    spec = inventory.ssh
    port = spec.port if spec.port != type(spec)().port else 0  # the default leaves it to the ssh configuration
    return lambda address: ssh.connect(ssh.Login(address, spec.user, spec.key, spec.sudo, port))


def distant_for(inventory: Inventory) -> Distant:
    """The way to the inventory's hosts."""
    from pgha.adapters import certificates
    from pgha.adapters.pack import pack_for
    from pgha.adapters.ssh_host import HostKeep
    from pgha.ops.host_fleet import Distant
    from pgha.ops.host_secure import Authority
    from pgha.ops.host_steps import Pack

    return Distant(
        authority=Authority(
            certificates.make_authority, certificates.issue, certificates.is_good, certificates.days_left
        ),
        connect=connector(inventory),
        store_files=lambda: store_files.given(inventory),
        keep=HostKeep,
        pack=lambda python, machine: Pack(*pack_for(python, machine, cache_dir())),
        wall_s=time.time,
        who=f"{getpass.getuser()}@{os.uname().nodename}",
    )


def agreed(lines: list[str], choice: Choice, *, dry_run: bool) -> bool:
    """Show the plan; go on? Not with --dry-run; -y answers. Raises PghaError when the operator declines."""
    from pgha import render

    if dry_run:
        render.page([render.clean(line) for line in lines])
        return False
    if choice.yes:
        render.told(lines)
    else:
        confirmed(lines)
    return True


def confirmed(lines: list[str]) -> None:
    """The plan, and one question. Raises PghaError when the operator declines."""
    from pgha import render

    if not render.confirm(lines):
        raise PghaError("declined; nothing was changed", "", "-y answers the question", code=Exit.DECLINED)
