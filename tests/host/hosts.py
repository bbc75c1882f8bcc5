# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A booted machine as its users see it: commands by ssh, and what its journal says."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import testinfra

from tests.lab import readme
from tests.lab.booted import Machine
from tests.lab.documents import definition

SECONDS = 900
# What AppArmor denies, what Python says when it fails, and the kernel.
FAULTS = re.compile(r'apparmor="DENIED"|Traceback \(most recent call last\)|kernel: .*(BUG|WARNING): ')


class Ended(Protocol):
    """A command that has ended."""

    rc: int
    stdout: str
    stderr: str


class Service(Protocol):
    """A unit of systemd's."""

    is_enabled: bool
    is_running: bool


class Package(Protocol):
    """A package of Debian's."""

    is_installed: bool


class File(Protocol):
    """What may be there by a path."""

    exists: bool


class Look(Protocol):
    """What is used of testinfra's view of a machine, which has no types of its own."""

    def run(self, command: str) -> Ended: ...
    def service(self, name: str) -> Service: ...
    def package(self, name: str) -> Package: ...
    def file(self, path: str) -> File: ...


@dataclass(frozen=True)
class User:
    """Somebody on a machine, who is there by ssh."""

    name: str
    look: Look

    def run(self, command: str, *, check: bool = True, seconds: int = SECONDS) -> Ended:
        """Run a shell's command in the home folder; return what came of it.

        AssertionError where it fails, unless `check` is off, or is not done in time.
        """
        done = self.look.run(f"timeout {seconds} bash -c {shlex.quote(command)}")
        assert done.rc != 124, f"{self.name}: not done after {seconds} s: {command}\n{done.stdout}{done.stderr}"
        assert done.rc == 0 or not check, f"{self.name}: {command}: rc {done.rc}\n{done.stdout}{done.stderr}"
        return done

    def says(self, command: str) -> str:
        """Return what a command prints, all of it, whatever its exit status."""
        return self.run(f"({command}) 2>&1", check=False).stdout

    def until(self, command: str, seconds: int = SECONDS) -> None:
        """Return when a command succeeds; AssertionError where it does not in time."""
        self.run(f"until {command}; do read -rt 0.5 <> <(:) || true; done", seconds=seconds)

    def write(self, name: str, text: str) -> None:
        """Write a file, from the home folder."""
        self.run(f"cat >{shlex.quote(name)} <<'END OF FILE'\n{text}END OF FILE")

    def write_shown(self) -> None:
        """Write the files that README shows."""
        for name, text in readme.files():
            self.write(name, text)

    def guests(self, options: str = "") -> list[str]:
        """Return the names of the guests that run, as virsh lists them."""
        return self.run(f"virsh {options} list --name").stdout.split()


class Host(User):
    """A machine as root is there."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("root", _testinfra(machine, "root"))
        object.__setattr__(self, "machine", machine)

    machine: Machine

    def user(self, name: str) -> User:
        """Return alice, who is in group libvirt, or bob, who is not."""
        return User(name, _testinfra(self.machine, name))

    def reboot(self, settled: bool = True) -> None:
        """Shut the machine down, and return when it is up again, or no more than its sshd is."""
        self.machine.reboot(settled)

    def journal(self, *options: str) -> str:
        """Return the journal of all boots, or what the options ask for."""
        return self.run(f"journalctl --no-pager -o short-monotonic {' '.join(options)}").stdout

    def faults(self) -> list[str]:
        """Return the lines of the journal that must not be there, and the units that have failed."""
        return [line for line in self.journal().splitlines() if FAULTS.search(line)] + self.failed()

    def failed(self) -> list[str]:
        """Return what systemctl says of the units that have failed."""
        return self.says("systemctl --failed --plain --no-legend").splitlines()

    def states(self) -> list[str]:
        """Return the last column of what `status` says: `ok`, or what has drifted."""
        rows = self.run("libvirt-vepa status").stdout.splitlines()[2:]
        return [row.split(maxsplit=7)[7] for row in rows if row]

    def devices(self) -> list[str]:
        """Return the names of all macvtaps."""
        return [line.partition("@")[0] for line in self.says("ip -br link show type macvtap").splitlines()]

    def define(self, name: str, device: str) -> None:
        """Define a NIC."""
        self.run(f"libvirt-vepa iface-define - <<<{shlex.quote(definition(name, device))}")

    def apt(self, words: str) -> None:
        """Have apt-get do something, which asks nobody."""
        self.run(f"DEBIAN_FRONTEND=noninteractive apt-get -q -y {words}")

    def install(self, package: Path, options: str = "") -> None:
        """Copy a package into the machine, and install it with what it depends on."""
        self.copy(package, package.name)
        self.apt(f"install {options} ./{package.name}")

    def copy(self, source: Path, there: str) -> None:
        """Copy a file into the machine."""
        self.machine.copy(source, there)


def _testinfra(machine: Machine, user: str) -> Look:
    # How long a connection stays is in the file.
    look: Look = testinfra.get_host(
        f"ssh://{user}@{machine.name}", ssh_config=str(machine.ssh_config), timeout=60, controlpersist=0
    )
    return look
