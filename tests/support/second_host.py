# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second host inside the lab, to migrate to: its own libvirtd and hook, network, name, /etc/libvirt, /run and /var.

Programs and the guests' files are the lab's; what the second host keeps lies below FOLDER.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.daemon import FOLDERS, LIBVIRTD_CONF, QEMU_CONF, another_daemon
from tests.lab.documents import definition
from tests.lab.guest import Guest
from tests.lab.network import Nic
from tests.lab.shell import link, run

FOLDER = Path("/mnt/second")
NAME, UUID = "second", "6f6e6f6f-0000-4000-8000-5ec05ec05ec0"
# The hosts' own link, over which QEMU sends a guest.
HERE, THERE = "10.78.0.1", "10.78.0.2"
PLAIN = f"qemu+unix:///system?socket={FOLDER}/run/libvirt/libvirt-sock"
# As ssh would run it there.
CONNECT = FOLDER / "connect"
# libvirt takes a destination without a host's name for this very host, but where it is a socket.
CONNECTION = f"qemu+ext://{NAME}/system?command={CONNECT}"
NIC = "enp9s0"
# Beyond all that the lab itself may come to use: /dev/tapN is one name for all network namespaces.
INDEXES = 512
SETUP = """\
set -e
hostname {name}
while umount -R /sys 2>/dev/null; do :; done
umount -R /mnt/cgroup
mount -t sysfs lab /sys
for folder in {folders} /run; do
    mount --bind {folder}$folder $folder
done
ip link set lo up
for number in $(seq 2 2 {indexes}); do
    echo "link add x$number group 9 type veth peer name y$number group 9"
done | ip -batch -
ip link delete group 9
echo ready
# It ends, and with it the host's namespaces, when nobody holds the other end any more.
exec cat
"""


@dataclass(frozen=True)
class Second:
    """The second host, by the process that holds its namespaces."""

    pid: int

    @property
    def through(self) -> tuple[str, ...]:
        return ("nsenter", f"--target={self.pid}", "--mount", "--net", "--uts")

    def run(self, *command: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on that host."""
        return run(*self.through, *command, stdin=stdin, check=check)

    @contextmanager
    def nic(self, wire: Nic) -> Iterator[None]:
        """Give the host a NIC on the switch behind another, and call it `lan`."""
        inside = ("ip", "-n", wire.namespace, "link")
        run(*inside, "add", "port2", "type", "veth", "peer", "name", NIC, "netns", str(self.pid))
        run(*inside, "set", "port2", "up", "master", "switch")
        self.run("libvirt-vepa", "iface-define", "-", stdin=definition("lan", NIC))
        try:
            yield
        finally:
            run(*inside, "delete", "port2")


class Arrived(Guest):
    """A guest that has come to the second host: its serial port is there."""

    @property
    def serial(self) -> Path:
        return FOLDER / super().serial.relative_to("/")


@contextmanager
def second() -> Iterator[Second]:
    """Run the second host; the first has everything installed. Its guests are destroyed in the end."""
    _make_folders()
    with _namespaces() as host, another_daemon(FOLDER / "run/libvirtd.pid", host.through):
        CONNECT.write_text(f"#!/bin/sh\nexec {' '.join(host.through)} libvirt-vepa-connect\n", encoding="ascii")
        CONNECT.chmod(0o755)
        run("ip", "link", "add", "to-second", "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        run("ip", "address", "add", f"{HERE}/24", "dev", "to-second")
        run("ip", "link", "set", "to-second", "up")
        host.run("ip", "address", "add", f"{THERE}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        try:
            yield host
            for name in run("virsh", "-q", "-c", PLAIN, "list", "--name").stdout.split():
                run("virsh", "-q", "-c", PLAIN, "destroy", name)
        finally:
            run("ip", "link", "delete", "to-second")


def _make_folders() -> None:
    for folder in FOLDERS:
        there = FOLDER / folder.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        if not there.exists():
            # What QEMU can do has been found out already, and the hook is installed.
            run("cp", "-a", folder, str(there))
    run("rm", "-rf", *(f"{FOLDER}/etc/libvirt/{name}" for name in ("qemu", "vepa")))
    run("rm", "-rf", f"{FOLDER}/var/lib/libvirt/qemu")
    (FOLDER / "run/lock").mkdir(parents=True, exist_ok=True)
    configuration = FOLDER / "etc/libvirt"
    (configuration / "qemu.conf").write_text(QEMU_CONF + 'stdio_handler = "file"\n', encoding="ascii")
    (configuration / "libvirtd.conf").write_text(f'{LIBVIRTD_CONF}host_uuid = "{UUID}"\n', encoding="ascii")
    # A host says by its name where it waits for a guest.
    with open("/etc/hosts", "a", encoding="ascii") as hosts:
        hosts.write(f"{THERE} {NAME}\n")


def _next() -> int:
    """Return about which index the lab's next device will have; those it has had may have gone."""
    run("ip", "link", "add", "next", "type", "veth", "peer", "name", "last")
    found = (link("next") or {})["ifindex"]
    run("ip", "link", "delete", "next")
    return int(found)


@contextmanager
def _namespaces() -> Iterator[Second]:
    script = SETUP.format(name=NAME, folder=FOLDER, folders=" ".join(FOLDERS), indexes=_next() + INDEXES)
    command = ("unshare", "--mount", "--net", "--uts", "--propagation", "private", "sh", "-c", script)
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == "ready\n", "the second host cannot be set up"
        yield Second(holder.pid)
