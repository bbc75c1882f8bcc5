# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Booted hosts: an image of tests/lab/machine under QEMU's software emulation, on a switch that can reflect.

It takes the lab's namespaces (tests/lab/enter). What a machine writes is gone with it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.console import Console, ask
from tests.lab.shell import run

TOP = Path(__file__).resolve().parents[2]
IMAGES = TOP / "build/machine"
RUNTIME = Path("/run/machine")
# Seconds; 50 to 100 are usual on an idle machine.
BOOT_SECONDS = 1200.0
END_SECONDS = 600.0
# nohz, highres: see tests/lab/boot.
KERNEL = (
    "root=/dev/vda rw console=ttyS0 loglevel=5 apparmor=1 security=apparmor net.ifnames=0 mitigations=off nokaslr"
    " nohz=off highres=off systemd.show_status=1 systemd.machine_id={machine_id} systemd.hostname={name}"
)
SSH = """\
Host *
    HostName 127.0.0.1
    Port {port}
    IdentityFile {key}
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ConnectTimeout 60
    ServerAliveInterval 60
    ServerAliveCountMax 3
    ControlMaster auto
    ControlPersist yes
    ControlPath {folder}/%r
"""
HARDWARE = """\
-machine q35 -accel tcg,thread=multi,tb-size=512 -smp 1 -m 2048 -nodefaults -display none -no-reboot -uuid {uuid}
-kernel {kernel}.vmlinuz -initrd {kernel}.initrd
-drive file={disk},if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap -device virtio-blk-pci,drive=disk,addr=3
-device virtio-rng-pci,addr=4 -chardev stdio,id=console,signal=off -serial chardev:console
-qmp unix:{folder}/qmp,server=on,wait=off
-device pcie-root-port,id=port0,chassis=10,addr=10 -device pcie-root-port,id=port1,chassis=11,addr=11
-device pcie-root-port,id=port2,chassis=12,addr=12
-netdev tap,id=wire0,ifname={tap}0,script=no,downscript=no -netdev tap,id=wire1,ifname={tap}1,script=no,downscript=no
-device virtio-net-pci,bus=port0,netdev=wire0,mac={mac}
-netdev user,id=admin,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22
-device virtio-net-pci,bus=port2,netdev=admin,mac=52:54:00:ad:00:00
"""


CARD = """\
-device pcie-root-port,id=port3,chassis=13,addr=13 -netdev hubport,id=wire3,hubid=0
-device igb,bus=port3,netdev=wire3,mac=52:54:00:ca:4d:00
"""


class MachineError(Exception):
    """A machine did not do what it was asked to; the text has what its console said last."""


class Switch:
    """What the machines' NICs are plugged into: a Linux bridge of the lab's, which also has an address of its own."""

    DEVICE = "switch"
    ADDRESS = "10.77.0.254"

    def __init__(self) -> None:
        """Make the switch; it goes with the lab."""
        quiet = ("stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
        run("ip", "link", "add", self.DEVICE, "type", "bridge", *quiet)
        run("ip", "address", "add", f"{self.ADDRESS}/24", "dev", self.DEVICE)
        run("ip", "link", "set", self.DEVICE, "up")
        self._ports: list[str] = []

    def add_port(self, name: str) -> None:
        """Make a tap of this name, and have it in the switch."""
        run("ip", "tuntap", "add", name, "mode", "tap")
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1", encoding="ascii")
        run("ip", "link", "set", name, "master", self.DEVICE, "up")
        self._ports.append(name)

    def reflect(self, on: bool) -> None:
        """Send frames back by the port they came in, or not."""
        for port in self._ports:
            run("bridge", "link", "set", "dev", port, "hairpin", "on" if on else "off")


@dataclass
class Machine:
    """A host of a release, by its number among those on the switch (1 or 2).

    Its disk is what it writes, on top of the image. With a card it has another NIC, which has VFs, runs the
    full kernel, and loads that NIC's driver when it is told to; that takes a QEMU that has igb (8.0).
    """

    release: str
    number: int
    disk: str
    card: bool = False
    booted: float = field(default=0.0, init=False)
    _qemu: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _console: Console | None = field(default=None, init=False, repr=False)

    def prepare(self) -> None:
        """Make its disk, empty, and what ssh must know."""
        self.folder.mkdir(parents=True, exist_ok=True)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", f"{self._image}.img", self.disk)
        text = SSH.format(port=self.port, key=IMAGES / "key", folder=self.folder)
        self.ssh_config.write_text(text, encoding="utf-8")

    @property
    def name(self) -> str:
        """Its host name."""
        return f"debian{self.release}-{self.number}"

    @property
    def folder(self) -> Path:
        """What the lab keeps of it."""
        return RUNTIME / self.name

    @property
    def port(self) -> int:
        """Where its sshd is, on the lab's loopback."""
        return 2200 + self.number

    @property
    def tap(self) -> str:
        """What the lab's ends of its NICs are called, but for the number of the NIC."""
        return f"machine{self.number}-"

    @property
    def ssh_config(self) -> Path:
        """A file for `ssh -F`."""
        return self.folder / "ssh"

    @property
    def _image(self) -> Path:
        return IMAGES / self.release

    def ssh(self, user: str = "root", *options: str) -> tuple[str, ...]:
        """Return the command that a command line for the machine is put behind."""
        return ("ssh", "-F", str(self.ssh_config), *options, f"{user}@{self.name}")

    def boot(self, settled: bool = True) -> None:
        """Boot it and return when it is up, or has no more than its sshd; MachineError where it does not come up."""
        begin = time.monotonic()
        command = self._command()
        with (self.folder / "qemu.log").open("ab") as log:
            self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        assert self._qemu.stdout
        self._console = Console(self._qemu.stdout, self.folder / "console")
        # The first of the two may be lost when the terminal changes hands.
        if not self._console.wait(r"Started .*ssh\.service|login: ", BOOT_SECONDS):
            self._fail("has not started its sshd", begin)
        self._wait_for_ssh(begin)
        if settled:
            subprocess.run((*self.ssh(), "systemctl is-system-running --wait"), stdout=subprocess.DEVNULL, check=False)
        self.booted = time.monotonic() - begin

    def _command(self) -> list[str]:
        ids = {"machine_id": f"6f6e6f6f00004000800000000000ad{self.number:02}", "name": self.name}
        words = HARDWARE.format(
            kernel=f"{self._image}.full" if self.card else self._image,
            disk=self.disk,
            folder=self.folder,
            tap=self.tap,
            port=self.port,
            mac=f"52:54:00:e0:00:0{self.number}",
            uuid=f"6f6e6f6f-0000-4000-8000-0000000000{self.number:02}",
        )
        append = KERNEL.format(**ids) + (" modprobe.blacklist=igb" if self.card else "")
        return ["qemu-system-x86_64", *(words + CARD * self.card).split(), "-append", append]

    def _wait_for_ssh(self, begin: float) -> None:
        while time.monotonic() < begin + BOOT_SECONDS:
            done = subprocess.run((*self.ssh(), "true"), stdin=subprocess.DEVNULL, capture_output=True, check=False)
            if done.returncode == 0:
                return
            if self._qemu is None or self._qemu.poll() is not None:
                break
        self._fail("does not answer by ssh", begin)

    def _fail(self, what: str, begin: float) -> None:
        said = (self.folder / "qemu.log").read_text(encoding="utf-8", errors="replace")
        last = self._console.last if self._console else ""
        self.kill()
        passed = time.monotonic() - begin
        raise MachineError(f"{self.name} {what} after {passed:.0f} s; its console said last:\n{last}\n{said}")

    def power_off(self) -> None:
        """Shut it down in good order; MachineError where it does not end."""
        self._end("poweroff")

    def reboot(self, settled: bool = True) -> None:
        """Shut it down, and boot it again: QEMU ends in between, the disk stays."""
        self._end("reboot")
        self.boot(settled)

    def _end(self, word: str) -> None:
        if self._qemu is None:
            return
        begin = time.monotonic()
        # The connection is cut off before the answer.
        subprocess.run((*self.ssh(), f"systemctl {word}"), capture_output=True, check=False)
        try:
            self._qemu.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._fail("has not ended", begin)
        self._forget()

    def kill(self) -> None:
        """Pull its plug."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
        self._forget()

    def _forget(self) -> None:
        for socket_file in self.folder.iterdir():
            if socket_file.is_socket():
                socket_file.unlink()
        self._qemu = None

    def copy_checkout(self, there: str = "/root/checkout") -> None:
        """Copy what git knows of this checkout into the machine."""
        files = run("git", "-C", str(TOP), "-c", f"safe.directory={TOP}", "ls-files", "-z").stdout.split("\0")
        names = "\0".join(name for name in files if name and (TOP / name).exists())
        pack = ("tar", "-C", str(TOP), "-c", "--null", "-T", "-", "--owner=root", "--group=root")
        packed = subprocess.run(pack, input=names.encode(), stdout=subprocess.PIPE, check=True).stdout
        unpack = f"mkdir -p {there} && tar -C {there} -x"
        subprocess.run((*self.ssh(), unpack), input=packed, check=True)

    def copy(self, source: Path, there: str) -> None:
        """Copy a file into the machine, for root."""
        with source.open("rb") as file:
            subprocess.run((*self.ssh(), f"cat >{there}"), stdin=file, check=True)

    def plug(self) -> None:
        """Give the machine another NIC on the switch, its eth1, while it runs."""
        mac = f"52:54:00:e0:01:0{self.number}"
        self._ask("device_add", driver="virtio-net-pci", id="late", bus="port1", netdev="wire1", mac=mac)

    def unplug(self) -> None:
        """Take that NIC away again; it goes when the machine has let go of it."""
        self._ask("device_del", id="late")

    def _ask(self, execute: str, **arguments: str) -> None:
        error = ask(self.folder / "qmp", execute, arguments)
        if error:
            raise MachineError(f"{self.name}: QEMU refuses {execute}: {error}")


@contextmanager
def machine(release: str, switch: Switch, number: int = 1, card: bool = False) -> Iterator[Machine]:
    """Boot a machine on the switch; its plug is pulled in the end, where it has not ended."""
    if not (IMAGES / f"{release}.img").exists():
        raise MachineError(f"there is no image of Debian {release}; run 'tests/lab/machine build {release}'")
    with (IMAGES / f"{release}.lock").open("wb") as lock, tempfile.TemporaryFile(dir=IMAGES) as disk:
        # Nobody makes the image anew meanwhile.
        fcntl.flock(lock, fcntl.LOCK_SH)
        # The file has no name, so that it cannot be left.
        found = Machine(release, number, f"/proc/{os.getpid()}/fd/{disk.fileno()}", card)
        found.prepare()
        for nic in range(2):
            switch.add_port(f"{found.tap}{nic}")
        try:
            found.boot()
            yield found
        finally:
            found.kill()


def main(release: str, *command: str) -> int:
    """Run a command, or a shell, in a machine that has a copy of the checkout; return its exit status."""
    with machine(release, Switch()) as found:
        print(f"machine: {found.name} is up after {found.booted:.0f} s", file=sys.stderr, flush=True)
        found.copy_checkout()
        words = " ".join(command) or "exec bash -l"
        there = found.ssh("root", *([] if command else ["-t"]))
        status = subprocess.run((*there, f"cd /root/checkout && {words}"), check=False).returncode
        found.power_off()
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
