"""Where a command's cluster comes from, and the doors to store and machine: the CLI's composition root.

Adapters are named here; they and what else is heavy are imported only when they are asked for: shell completion
imports this module too.
"""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pgha.cli.options import Choice
from pgha.cli.places import demo_dir as demo_dir
from pgha.cli.places import find as find
from pgha.cli.places import raw_of
from pgha.cli.places import text_of as text_of
from pgha.errors import Exit, PghaError, Unreachable, UsageError

if TYPE_CHECKING:
    from pgha import nodefile
    from pgha.adapters.ssh import SshConnection
    from pgha.inventory import Inventory
    from pgha.ops.bootstrap_run import Machine
    from pgha.ops.host_fleet import Distant
    from pgha.ops.host_health import StoreRoom
    from pgha.ops.target import Target
    from pgha.ports import Clock, Store, StoreMembers


def inventory_at(path: str) -> Inventory:
    """The inventory in this file. Raises UsageError or Findings."""
    from pgha import inventory

    return inventory.parse(inventory.decode(raw_of(path), path), path)


def inventory_of(choice: Choice) -> tuple[Inventory, str, str]:
    """(inventory, path, flags) for commands that need the whole of it. Raises UsageError for a node's own file."""
    path, flags = find(choice)
    if path.endswith(".json") or choice.node:
        raise UsageError(f"{path} is a node's own file", "this command needs the inventory", "give -i FILE")
    return inventory_at(path), path, flags


def target_of(choice: Choice) -> Target:
    """The cluster a command works on."""
    from pgha import nodefile
    from pgha.ops.target import from_inventory, from_node_file

    path, flags = find(choice)
    if not (path.endswith(".json") or choice.node):
        wanted = inventory_at(path)
        target = from_inventory(wanted, path, flags)
        return replace(target, store=reachable(wanted, target.store))
    try:
        return from_node_file(nodefile.parse(raw_of(path).decode()), path, flags)
    except ValueError as e:
        raise UsageError(f"{path} is not a node file of pgha", str(e)) from e


def with_own_files(inventory: Inventory, access: nodefile.StoreAccess, *, anew: bool = False) -> nodefile.StoreAccess:
    """See `store_files.at_hand`."""
    from pgha.cli import store_files

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


def store_room(target: Target, *, within_s: float) -> StoreRoom:
    """How many revisions the store keeps if it has never forgotten one, and what its members tell of their quotas."""
    from pgha import records
    from pgha.adapters.etcd import EtcdStore
    from pgha.adapters.etcd_room import rooms
    from pgha.ops.host_health import StoreRoom
    from pgha.ports import StoreDown

    now, store = clock(), EtcdStore(target.store, clock())
    try:
        kept = store.kept_revisions(records.prefix(target.cluster), deadline_s=now.now_s() + within_s)
    except StoreDown:
        kept = 0
    finally:
        store.close()
    return StoreRoom(kept, rooms(target.store, within_s=within_s))


def open_members(inventory: Inventory, access: nodefile.StoreAccess) -> StoreMembers:
    """etcd's own list of its members, changed as etcd's root where the cluster's etcd asks for a login."""
    from pgha.adapters.etcd_membership import EtcdMembership
    from pgha.cli import store_files
    from pgha.ops.store_login import ROOT

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
    from pgha.cli import store_files
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
