# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host to start guests on: a state folder and definitions of its own, the lab's kernel, and what it shows."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from libvirt_vepa.errors import VepaError
from libvirt_vepa.host.context import Host
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.interface import Guest, GuestType, Mode, Request, derived_alias, derived_device
from libvirt_vepa.store.store import Store
from tests.lab.shell import ip_json, run

PROCESS = multiprocessing.get_context("fork")
STABLE = ("ifindex", "address", "mtu", "master", "link", "allmulti")
SECONDS = 60


def mac(number: int, interface: int = 1) -> str:
    return f"52:54:00:00:{number:02x}:{interface:02x}"


def device(number: int, interface: int = 1) -> str:
    return derived_device(MacAddress.parse(mac(number, interface)))


def ask(number: int, interface: int = 1, name: str = "lan", kind: str = "macvtap", **more: Any) -> Request:
    """Return what a guest of that number asks with its n-th interface, in the host's default mode."""
    address = MacAddress.parse(more.pop("mac", mac(number, interface)))
    mode = more.pop("mode", None)
    given = {"alias": derived_alias(address), "device": derived_device(address), **more}
    return Request(name=name, type=GuestType(kind), mode=mode and Mode(mode), mac=address, **given)


def guest(number: int, *requests: Request) -> Guest:
    """Return the guest of that number, which asks for `lan` once where nothing else is given."""
    return Guest(f"web{number}", uuid(number), requests or (ask(number),))


def uuid(number: int) -> str:
    return f"6f6e6f6f-0000-4000-8000-{number:012}"


def links() -> dict[str, dict[str, Any]]:
    """Return all devices by name, with what does not change by itself."""
    found = {}
    for link in ip_json("link"):
        info = link.get("linkinfo", {})
        kind = {"kind": info.get("info_kind"), "mode": info.get("info_data", {}).get("mode")}
        found[link["ifname"]] = {key: link.get(key) for key in STABLE} | {"up": "UP" in link["flags"]} | kind
    return found


def node(name: str) -> Path:
    """Return where the character device of a macvtap is."""
    return Path(f"/dev/tap{links()[name]['ifindex']}")


@dataclass(frozen=True)
class World:
    """A state folder, definitions, and the way to the kernel."""

    root: Path
    directory: Path
    host: Host

    def define(self, name: str, nic: str, *content: str, kind: str = "ethernet") -> None:
        """Define a NIC, or define it anew."""
        children = f"<source dev='{nic}'/><type>{kind}</type>{''.join(content)}"
        text = f"<interface type='physical' name='{name}'>{children}</interface>"
        (self.directory / f"{name}.xml").write_text(text, encoding="utf-8")

    def begin(self, one: Guest) -> None:
        guests.start_guest(one, self.host, self.directory)

    def end(self, one: Guest) -> tuple[VepaError, ...]:
        return guests.release_guest(one.uuid, self.host, "a test")

    def journal(self, one: Guest) -> Any:
        """Return a guest's Journal, or None."""
        return self.host.store.load(one.uuid)

    def kept(self, one: Guest) -> list[str]:
        """Return the kinds of the operations that a guest's journal holds."""
        journal = self.journal(one)
        return [record["operation"] for record in journal.operations] if journal else []

    def files(self) -> dict[str, bytes]:
        """Return the state on disk."""
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def refused(self, one: Guest) -> str:
        """Return the one line that a start is refused with; nothing may have been touched."""
        before = links(), self.files()
        with pytest.raises(VepaError) as caught:
            self.begin(one)
        assert (links(), self.files()) == before
        return line(str(caught.value), one)

    def command(self, action: str, number: int, *before: str, kind: str = "macvtap") -> tuple[int, str]:
        """Begin or end a guest in a process of its own, put into place by the command `before`."""
        words = (
            sys.executable,
            "-m",
            "tests.support.run_action",
            action,
            str(self.root),
            str(self.directory),
            str(number),
            kind,
        )
        done = run(*before, *words, check=False)
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout.rstrip("\n")


def line(text: str, one: Guest) -> str:
    """Return an error without its beginning, which names the guest; it is one line and has a remedy."""
    assert text.isprintable() and "; " in text
    assert text.startswith(f"guest '{one.name}': ")
    return text.removeprefix(f"guest '{one.name}': ")


def children(action: Callable[..., None], *arguments: tuple[Any, ...]) -> list[int | None]:
    """Run an action in as many processes as there are tuples of arguments, all at once; return how they ended."""
    barrier = PROCESS.Barrier(len(arguments))

    def child(*given: Any) -> None:
        barrier.wait(SECONDS)
        action(*given)

    processes = [PROCESS.Process(target=child, args=given) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    return [process.exitcode for process in processes]


def begin_here(world: World, one: Guest) -> None:
    """Begin a guest in a child, whose way to the kernel must be its own."""
    with guests.open_host(Store(world.root)) as host:
        guests.start_guest(one, host, world.directory)


def end_here(world: World, one: Guest) -> None:
    with guests.open_host(Store(world.root)) as host:
        failed = guests.release_guest(one.uuid, host, "a test")
    os._exit(1 if failed else 0)
