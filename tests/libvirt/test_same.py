# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What virsh reads is the same, byte for byte, through the connection and past it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.daemon import virsh
from tests.lab.guest import Guest
from tests.support.via_proxy import BOTH

# {0} is a guest that has nothing of ours.
HOST = """
version | version --daemon | hostname | nodeinfo | sysinfo | capabilities | domcapabilities | maxvcpus qemu
nodecpumap | nodecpustats | node-memory-tune | freepages --all | nodememstats
cpu-models x86_64 | hypervisor-cpu-models | hypervisor-cpu-baseline /dev/null | cpu-compare /dev/null
net-list --all | net-info none | net-dumpxml none | net-port-list none | nwfilter-list
nwfilter-binding-list | secret-list | pool-list --all --details | pool-capabilities | pool-info none | vol-list none
nodedev-list | nodedev-list --tree | nodedev-dumpxml computer | find-storage-pool-sources dir
list --all | list --all --uuid --name | list --managed-save --title | domstats
domxml-from-native qemu-argv /dev/null | find-storage-pool-sources-as logical | domcapabilities --arch aarch64
"""
GUEST = """
dominfo | domblklist --details | domiflist | domstate --reason | domid | domuuid | dumpxml | dumpxml --inactive
dumpxml --migratable | vcpucount | vcpuinfo | vcpupin | emulatorpin | iothreadinfo | schedinfo | memtune | blkiotune
numatune | domcontrol | domblkerror | domtime | domifaddr | domfsinfo | domhostname | guestinfo | guestvcpus
snapshot-list | checkpoint-list | managedsave-dumpxml | domjobinfo | dommemstat | desc | desc --title | perf
cpu-stats | domlaunchsecinfo | get-user-sshkeys root | domdisplay | vncdisplay | ttyconsole
qemu-monitor-command --hmp --cmd info_version | domstats | metadata urn:none | backup-dumpxml | domblkinfo vda
domblkstat vda | domblkthreshold vda 1 | blkdeviotune vda | blockjob vda | domiftune none | domif-getlink none
domifstat none | undefine --bogus | domlog
"""
# What changes from one moment to the next: numbers only.
CHANGING = {
    "cpu-stats",
    "domdirtyrate-calc",
    "dommemstat",
    "domstats",
    "freepages",
    "nodememstats",
    "nodecpustats",
    "vcpuinfo",
}


def commands(text: str) -> list[str]:
    return [command.strip() for line in text.strip().splitlines() for command in line.split(" | ")]


def answers(name: str, *options: str) -> list[tuple[int, str, str]]:
    done: list[subprocess.CompletedProcess[str]] = [virsh("-c", uri, name, *options, check=False) for uri in BOTH]
    number = r" *\d+(?:\.\d+)?" if name in CHANGING else r"(?!)"
    return [(found.returncode, re.sub(number, " 0", found.stdout), found.stderr) for found in done]


@pytest.fixture(scope="module")
def running() -> Iterator[Guest]:
    guest = Guest(4)
    guest.add_disk()
    virsh("define", "/dev/stdin", stdin=guest.xml)
    virsh("start", guest.name)
    yield guest
    virsh("destroy", guest.name)
    virsh("undefine", guest.name)


pytestmark = pytest.mark.usefixtures("libvirtd", "running")


@pytest.mark.parametrize("command", commands(HOST))
def test_of_the_host(command: str) -> None:
    past, through = answers(*command.split())
    assert past == through


@pytest.mark.parametrize("command", commands(GUEST))
def test_of_a_guest(command: str, running: Guest) -> None:
    name, *options = command.split()
    past, through = answers(name, running.name, *options)
    assert past == through


def test_roots_session_is_the_system(running: Guest) -> None:
    for uri in BOTH:
        listed = virsh("-c", uri.replace("/system", "/session"), "list", "--all", "--name").stdout
        assert listed.split() == [running.name]
