# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What it costs to ask libvirt through the connection, against the plain socket and a relay in C."""

from __future__ import annotations

import os
from pathlib import Path

import libvirt

from tests.lab.bench import services
from tests.lab.bench.table import Action, Goal, Table
from tests.lab.daemon import virsh
from tests.lab.guest import Guest, stored
from tests.lab.shell import run

CALLS = 333
# A gigabyte takes a second or two.
VOLUME_RUNS = 7
MEBIBYTE, GIBIBYTE = 2**20, 2**30
GIBIBYTE_EIGHTH = GIBIBYTE // 8
# In memory, in the lab.
POOL, COPY = Path("/run/bench-pool"), Path("/run/bench-copy/one")
PLAIN = "qemu:///system"
OURS, RELAY = f"{PLAIN}?socket={services.CONNECTION}", f"{PLAIN}?socket={services.RELAY}"
# Each client has a process of its own started.
EXT = "qemu+ext:///system?command=/usr/bin/libvirt-vepa-connect"


def opening(table: Table) -> None:
    """To open and close the connection."""
    with services.connection():
        table.compare("open and close a connection : plain", _opens(OURS), _opens(PLAIN), Goal(1, 10))
    table.compare("the same without the listener (ext) : plain", _opens(EXT), _opens(PLAIN))


def _opens(uri: str) -> Action:
    return lambda: libvirt.open(uri).close()


def calls(table: Table) -> None:
    """Small calls."""
    with services.connection(), services.relay():
        ours, relay, plain = (_calls(libvirt.open(uri)) for uri in (OURS, RELAY, PLAIN))
        table.compare(f"{CALLS} small calls : a relay in C", ours, relay, Goal(1.15))
        table.compare(f"{CALLS} small calls : plain", ours, plain)


def _calls(connection: libvirt.virConnect) -> Action:
    return lambda: [connection.numOfDomains() for _ in range(CALLS)]


def documents(table: Table) -> None:
    """The XML of large guests."""
    with services.connection():
        ours, plain = libvirt.open(OURS), libvirt.open(PLAIN)
        for kind, guest in (("no request", _large(3, False)), ("a request", _large(4, True))):
            table.compare(f"dumpxml of 1 MiB, {kind} : plain", _dumpxml(ours, guest), _dumpxml(plain, guest))
            virsh("undefine", guest.name)


def _large(number: int, asks: bool) -> Guest:
    """Define a guest whose XML is 1 MiB long."""
    guest = Guest(number)
    if asks:
        guest.ask("vepa")
    text = f"</uuid><description>{'x' * MEBIBYTE}</description>"
    virsh("define", "/dev/stdin", stdin=stored(guest).replace("</uuid>", text))
    return guest


def _dumpxml(connection: libvirt.virConnect, guest: Guest) -> Action:
    action: Action = connection.lookupByName(guest.name).XMLDesc
    return action


def volumes(table: Table) -> None:
    """1 GiB up and down, in a folder in memory, and what the connection's process takes meanwhile."""
    for folder in (POOL, COPY.parent):
        folder.mkdir(exist_ok=True)
    with COPY.open("wb") as file:
        for _ in range(GIBIBYTE // MEBIBYTE):
            file.write(os.urandom(MEBIBYTE))
    virsh("pool-create-as", "bench", "dir", "--target", str(POOL))
    virsh("vol-create-as", "bench", "one", str(GIBIBYTE))
    with services.connection(), services.relay():
        for word in ("upload", "download"):
            ours, relay, plain = (_volume(uri, word) for uri in (OURS, RELAY, PLAIN))
            table.compare(f"vol-{word} of 1 GiB : a relay in C", ours, relay, Goal(1.15), runs=VOLUME_RUNS)
            table.compare(f"vol-{word} of 1 GiB : plain", ours, plain, runs=VOLUME_RUNS)
    _memory()
    virsh("pool-destroy", "bench")
    COPY.unlink()


def _volume(uri: str, word: str) -> Action:
    return lambda: run("virsh", "-q", "-c", uri, f"vol-{word}", "one", str(COPY), "--pool", "bench")


def _memory() -> None:
    connection = libvirt.open(EXT)
    pid = _process()
    stream, taken, seen = connection.newStream(), 0, [_resident(pid)]
    connection.storageVolLookupByPath(str(POOL / "one")).download(stream, 0, GIBIBYTE, 0)
    while data := stream.recv(256 * 1024):
        if taken // GIBIBYTE_EIGHTH != (taken := taken + len(data)) // GIBIBYTE_EIGHTH:
            seen.append(_resident(pid))
    stream.finish()
    seen.append(_resident(pid))
    connection.close()
    print(f"KiB of the connection's process, before, eight times during and after 1 GiB: {' '.join(map(str, seen))}")


def _process() -> int:
    """Return the connection's process that this one has started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    (found,) = (pid for pid in children if b"libvirt-vepa-connect" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return int(found)


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
