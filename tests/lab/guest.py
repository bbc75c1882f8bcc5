# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small real guests: a Debian kernel and a busybox, software emulation, a shell on the serial port."""

from __future__ import annotations

import os
import re
import select
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.daemon import virsh
from tests.lab.shell import BOUND_SECONDS, run

TOP = Path(__file__).resolve().parents[2]
DISK = "/run/disk.qcow2"
# How often an answer is asked for, for two seconds each: where none is expected, and where one is.
ONCE, PATIENT = 1, 30
PING = "ping -q -c 2 -W 1"

DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    {boot}
  </os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    {interfaces}
    <serial type='unix'><source mode='bind' path='{serial}'/><target port='0'/></serial>
    <memballoon model='none'/>
  </devices>{clock}
</domain>
"""
# 32 ns an instruction. An emulation in an emulation may be too slow for its timer: it would do nothing else.
COUNTED = """
  <qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
    <qemu:arg value='-icount'/><qemu:arg value='shift=5'/>
  </qemu:commandline>"""
# On a busy machine the emulated timer ticks too late for the kernel's check of it, and the kernel panics.
KERNEL = """\
<kernel>{build}/guest/vmlinuz</kernel>
    <initrd>{build}/guest/initrd</initrd>
    <cmdline>console=ttyS0 quiet mitigations=off no_timer_check</cmdline>"""
# Without it the network's boot ROM would ask for an address, and keep a processor busy with it. In milliseconds.
MENU = "<bootmenu enable='yes' timeout='65535'/>"


@dataclass
class Guest:
    """A guest by its number (1 to 254, or more without an address). Its name, UUID, MAC and address follow from it.

    `interfaces` are put into its devices as they are. Without a kernel it stays in its firmware's menu, with
    nothing to do, and cannot be waited for. With `counted` its clock goes by what it executes. What does not come
    from it within `bound` seconds hangs.
    """

    number: int
    interfaces: str = ""
    vcpus: int = 1
    kernel: bool = False
    counted: bool = False
    bound: float = BOUND_SECONDS
    _socket: socket.socket | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return f"lab{self.number}"

    @property
    def uuid(self) -> str:
        return f"6f6e6f6f-0000-4000-8000-{self.number:012}"

    @property
    def mac(self) -> str:
        return f"52:54:00:00:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def device(self) -> str:
        """The name of the host's device that follows from the MAC."""
        return f"vp{self.mac.replace(':', '')}"

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def serial(self) -> Path:
        return Path(f"/run/libvirt/qemu/{self.name}.serial")

    def ask(self, mode: str | None, kind: str = "macvtap", extra: str = "") -> None:
        """Give the guest one interface that asks for `lan` in the proposed form."""
        target = f"<target mode='{mode}'/>" if mode else ""
        self.interfaces = (
            f"<interface type='physical'><name>lan</name><type>{kind}</type>{target}"
            f"<mac address='{self.mac}'/><model type='virtio'/>{extra}</interface>"
        )

    def add_disk(self) -> None:
        """Give the guest a small empty disk, as snapshots need one."""
        run("qemu-img", "create", "-q", "-f", "qcow2", DISK, "1M")
        self.interfaces += (
            f"<disk type='file'><driver name='qemu' type='qcow2'/><source file='{DISK}'/><target dev='vda'/></disk>"
        )

    @property
    def xml(self) -> str:
        return DOMAIN.format(
            name=self.name,
            uuid=self.uuid,
            vcpus=self.vcpus,
            boot=KERNEL.format(build=TOP / "build") if self.kernel else MENU,
            interfaces=self.interfaces,
            serial=self.serial,
            clock=COUNTED if self.counted else "",
        )

    def start(self) -> None:
        """Start the guest, which is defined; `wait` for it before anything is run in it."""
        virsh("start", self.name)
        # What the guest says before anybody listens is lost.
        self._connect()

    def destroy(self) -> None:
        """Pull the guest's plug."""
        self.hang_up()
        virsh("destroy", self.name)

    def resume(self) -> None:
        """Start the guest from where it was saved; it goes on as if nothing had been."""
        self.hang_up()
        self.start()

    def hang_up(self) -> None:
        """Let go of the serial port."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def wait(self) -> None:
        """Return when the guest's shell answers; then it has its address too."""
        assert self.kernel
        self._until(r"guest is up")
        self.run(f"ip address add {self.address}/24 dev eth0")

    def run(self, command: str) -> tuple[int, str]:
        """Run a command in the guest; return its exit status and what it printed."""
        serial = self._connect()
        serial.sendall(f"{command}; echo status=$?=\n".encode())
        text = self._until(r"status=(\d+)=")
        output, status = re.split(r"status=(\d+)=", text)[:2]
        return int(status), output.strip()

    def tell(self, command: str) -> None:
        """Run a command that gives no answer, because it ends the guest."""
        self._connect().sendall(f"{command}\n".encode())

    def reaches(self, address: str, tries: int = PATIENT) -> bool:
        """Tell whether the guest gets an answer from an address."""
        return any(self.run(f"{PING} {address}")[0] == 0 for _ in range(tries))

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(os.fspath(self.serial))
        return self._socket

    def _until(self, pattern: str) -> str:
        """Read the serial port until a pattern is there; the rest of its line is dropped."""
        serial, text, deadline = self._connect(), "", time.monotonic() + self.bound
        while not re.search(pattern + r".*\n", text):
            ready, _, _ = select.select([serial], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{self.name}: no '{pattern}' in {self.bound:g} seconds, but: {text[-2000:]!r}")
            chunk = serial.recv(65536)
            if not chunk:
                raise EOFError(f"{self.name}: the guest has ended after: {text[-2000:]!r}")
            text += chunk.decode("utf-8", "replace")
        return text


def host_reaches(address: str, tries: int = PATIENT) -> bool:
    """Tell whether the lab's host gets an answer from an address."""
    return any(run("busybox", *PING.split(), address, check=False).returncode == 0 for _ in range(tries))


def stored(guest: Guest) -> str:
    """Return a guest's XML as libvirt can take it, translated by the installed command."""
    return run("libvirt-vepa", "translate", stdin=guest.xml).stdout


def define(guest: Guest) -> None:
    """Define a guest as its user would."""
    virsh("define", "/dev/stdin", stdin=stored(guest))
