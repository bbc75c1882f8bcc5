# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests of an emulated card without libvirt: the product's own calls, definitions in a folder, and processes that die.

Nothing is started anew, which takes long in that machine: what must be another process is forked.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from libvirt_vepa.errors import VepaError
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel import pci
from libvirt_vepa.lifecycle import define as define_module
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.lifecycle import reconcile
from libvirt_vepa.lifecycle import undefine as undefine_module
from libvirt_vepa.model.address import MacAddress, PciAddress
from libvirt_vepa.model.interface import Guest, GuestType, Mode, Request, derived_alias, derived_device
from libvirt_vepa.operations.registry import KNOWN
from libvirt_vepa.store import definitions
from libvirt_vepa.store.store import Store
from tests.lab.network import Nic
from tests.lab.shell import ip_json, link, run
from tests.support.card_tools import OFFLOAD, features, hwmode

PREFIX = "52:54:00:00:02:"
# What changes a VF's driver, of libvirt_vepa/kernel/pci.py.
WRITES = "a write to /sys"


def mac(number: int) -> str:
    return f"{PREFIX}{number:02x}"


def guest(number: int, mode: Mode | None = Mode.VEPA, name: str = "lan", **more: Any) -> Guest:
    """Return a guest with one interface; `more` is what the interface asks for beside."""
    address = MacAddress.parse(mac(number))
    alias, device = derived_alias(address), derived_device(address)
    request = Request(alias, name, GuestType.MACVTAP, mode, address, device, **more)
    return Guest(f"g{number}", f"11111111-2222-3333-4444-{number:012}", (request,))


def device_of(some: Guest) -> str:
    return some.requests[0].device


@dataclass(frozen=True)
class Place:
    """A card, definitions of it, and what is known of its guests."""

    card: Nic
    host: Host
    root: Path

    @property
    def address(self) -> PciAddress:
        found = pci.function_of(self.card.device)
        assert found
        return found

    def define(self, content: str, name: str = "lan", source: str = "", kind: str = "sr-iov") -> None:
        """Define the card, by its name unless another `source` is given."""
        source = source or f"<source dev='{self.card.device}'/>"
        text = f"<interface type='physical' name='{name}'>{source}<type>{kind}</type>{content}</interface>"
        define_module.define(text.encode(), "a test", self.host.store, self.root / "definitions")

    def undefine(self, name: str = "lan") -> None:
        undefine_module.undefine(name, self.host.store, self.root / "definitions")

    def look(self, some: Guest) -> tuple[Any, ...]:
        return guests.dry_run(some, self.host, self.root / "definitions").operations

    def begin(self, some: Guest, host: Host | None = None) -> tuple[str, ...]:
        return guests.start_guest(some, host or self.host, self.root / "definitions")

    def end(self, *some: Guest) -> list[str]:
        """End guests, and return what could not be put back."""
        return [str(error) for each in some for error in guests.release_guest(each.uuid, self.host, "a test")]

    def refused(self, some: Guest, begin: bool = True) -> str:
        """Return what is said against the start of a guest: one line, with guest and interface named first."""
        try:
            self.begin(some) if begin else self.look(some)
        except VepaError as error:
            said = f"{type(error).__name__}: {error}"
            assert f": guest '{some.name}': {some.requests[0].where}: " in said and "\n" not in said and "; " in said
            return said
        raise AssertionError(f"{some.name} is not refused")

    def functions(self) -> tuple[pci.VirtualFunction, ...]:
        return pci.vfs_of(self.address)

    def vf(self, number: int) -> dict[str, Any]:
        """Return what `ip` says of a VF at the card."""
        (said,) = ip_json("link", "show", "dev", self.card.device)
        found: dict[str, Any] = said["vfinfo_list"][number]
        return found

    def vf_link(self, number: int) -> dict[str, Any]:
        """Return what `ip` says of a VF's netdev."""
        found: dict[str, Any] = link(self.functions()[number].device or "?")
        assert found
        return found

    def files(self) -> list[str]:
        """Return what the product keeps but for the VFs that a definition has made."""
        kept = (str(path.relative_to(self.root)) for path in self.root.glob("state/*/*"))
        return sorted(path for path in kept if not path.startswith("state/shared/vfs-"))

    def seen(self, *running: Guest) -> dict[str, Any]:
        """Return all that a guest may change of a card, but for its VFs' MACs: they are none of a guest's.

        Only guests that are `running` may have theirs.
        """
        device = self.card.device
        told = {each["ifname"]: each for each in ip_json("link")}
        vfs, netdevs = told.pop(device).get("vfinfo_list", []), told.values()
        macs = {each["address"] for each in (*vfs, *netdevs) if each["address"].startswith(PREFIX)}
        assert macs == {str(some.requests[0].mac) for some in running}
        return {
            "vfs": [{**vf, "address": ""} for vf in vfs],
            "hwmode": hwmode(device),
            "offload": features(device)[OFFLOAD],
            "tables": run("nft", "list", "tables").stdout,
            "drivers": [function.driver for function in self.functions()],
            "netdevs": sorted(map(_plain, netdevs)),
            "files": self.files(),
        }

    def gone(self, *, alive: tuple[Guest, ...] = ()) -> list[str]:
        """Reconcile, with only these guests running; return what could not be put back."""
        running = {each.uuid: b"<domain/>" for each in alive}
        found = reconcile.find(self.host, lambda: running, running.get)
        return [str(error) for left in found for error in reconcile.put_back(left, self.host, lambda _uuid: None)]


def _plain(said: dict[str, Any]) -> tuple[Any, ...]:
    """Return of a netdev what stays when its driver is bound anew."""
    flags = {"UP", "PROMISC", "ALLMULTI"} & set(said["flags"])
    return (said.get("parentdev", said["ifname"]), said["mtu"], sorted(flags), said["promiscuity"], said["allmulti"])


@contextmanager
def place(card: Nic, root: Path) -> Iterator[Place]:
    """Give a card to a test; in the end no guest is left on it, nor a VF that a definition has made."""
    store = Store(root / "state")
    with guests.open_host(store) as host:
        found = Place(card, host, root)
        yield found
        for uuid in store.guests():
            guests.release_guest(uuid, host, "a test")
        for name in definitions.names(root / "definitions"):
            undefine_module.undefine(name, store, root / "definitions")


# -- other processes


@dataclass(frozen=True)
class Child:
    """A process that does something with a host of its own."""

    pid: int
    said: int

    @classmethod
    def of(cls, store: Store, work: Callable[[Host], object]) -> Child:
        """Begin it: what its work returns, or is refused with, is what `end` returns."""
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            _work(store, work, writing)
        os.close(writing)
        return cls(pid, reading)

    def end(self) -> tuple[str, int]:
        """Wait for its end; return what it said, and the signal that killed it or 0."""
        with open(self.said, encoding="utf-8") as pipe:
            said = pipe.read()
        status = os.waitpid(self.pid, 0)[1]
        return said, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _work(store: Store, work: Callable[[Host], object], writing: int) -> NoReturn:
    try:
        with guests.open_host(store) as host:
            said = str(work(host) or "")
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    os.write(writing, said.encode())
    os._exit(0)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL has not killed")


def die_before(number: int, what: str) -> None:
    """Have this process, a child, die before the n-th `apply` or `undo` of an operation, or write to /sys."""
    left = iter(range(number, -1, -1))
    if what == WRITES:
        pci._write = _mortal(pci._write, left)
        return
    for kind in KNOWN.values():
        setattr(kind, what, _mortal(getattr(kind, what), left))


def _mortal(called: Callable[..., None], left: Iterator[int]) -> Callable[..., None]:
    def dying(*arguments: Any) -> None:
        if next(left, -1) == 0:
            die()
        called(*arguments)

    return dying


def records(some: Guest, store: Store) -> list[str]:
    """Return the names of the operations in a guest's journal."""
    journal = store.load(some.uuid)
    return [str(record["operation"]) for record in journal.operations] if journal else []


def table(nic: str) -> list[Any]:
    """Return what nft tells of a NIC's table."""
    done = run("nft", "-j", "list", "table", "netdev", table_name(nic), check=False)
    return list(json.loads(done.stdout)["nftables"]) if done.returncode == 0 else []


def table_name(nic: str) -> str:
    """Return what a NIC's table is called: after its PCI address, in which nft takes no colon."""
    return "libvirt-vepa-" + pci.key_of(nic).replace(":", "/3a")


def known(nic: str) -> set[str]:
    """Return the MACs that the filters of a NIC know."""
    (found,) = (each["map"] for each in table(nic) if "map" in each)
    return {mac for mac, _ in found.get("elem", ())}
