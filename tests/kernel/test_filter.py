# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Frames that come back are kept from a guest on a VF: sent on the wire of a veth, read where QEMU would read them."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import pytest

from libvirt_vepa.errors import HostError, KernelError
from libvirt_vepa.host.context import Host
from libvirt_vepa.kernel import nftables as frames
from libvirt_vepa.kernel import tuntap
from libvirt_vepa.kernel.snapshot import Snapshot
from libvirt_vepa.model.address import MacAddress, NicKey
from libvirt_vepa.operations.source_filter import DropReflectedFrames, UpdateVfMacSet
from tests.conftest import CHECKOUT
from tests.lab.shell import run
from tests.support.frame_capture import Capture
from tests.support.host_fixture import children, mac, node

nftables = pytest.importorskip("nftables")
NIC = NicKey("eth1")
OWN, SIBLING, STRANGER = (MacAddress.parse(mac(number)) for number in (1, 2, 9))
ODD = ["a.b-c_d", "x@y", "x_40y", "-dash", "{;}#$'\\\"", "grün", "f" * 15]
PROGRAM = """
from libvirt_vepa.kernel import nftables as filter
from libvirt_vepa.model.address import MacAddress
one = MacAddress.parse("52:54:00:00:01:01")
filter.install("eth1", "vf0", one, True)
filter.set_vf_macs("eth1", [one])
filter.set_vf_macs("eth1", [])
filter.remove("eth1", one)
"""


@dataclass(frozen=True)
class Vf:
    """What stands for a VF's netdev, with the guest's macvtap on it; its wire is the other end of a veth."""

    device: str
    wire: socket.socket
    guest: Capture

    def heard(self) -> set[MacAddress]:
        """Return whose frames reach the guest: broadcast, to its own address, and with a VLAN tag, all or none."""
        self.guest.sources.clear()
        for source in (OWN, SIBLING, STRANGER):
            for head in ("ff" * 6 + source.digits, OWN.digits + source.digits, "ff" * 6 + source.digits + "81000005"):
                self.wire.send(bytes.fromhex(head + "88b5") + bytes(46))
        self.guest.wait_for(str(STRANGER), 3)
        found = self.guest.sources
        assert all(found.count(source) == 3 for source in found), found
        return {MacAddress.parse(source) for source in found}


@contextmanager
def vf(device: str) -> Iterator[Vf]:
    far, tap = "wire", "guest"
    cpus = os.sched_getaffinity(0)
    run("ip", "link", "add", device, "type", "veth", "peer", "name", far)
    run("ip", "link", "add", "link", device, "name", tap, "address", str(OWN), "type", "macvtap", "mode", "passthru")
    with ExitStack() as stack:
        stack.callback(run, "ip", "link", "delete", far, check=False)
        # Frames that one CPU sends arrive in their order.
        stack.callback(os.sched_setaffinity, 0, cpus)
        os.sched_setaffinity(0, {min(cpus)})
        for each in (device, far, tap):
            run("busybox", "sysctl", "-qw", f"net/ipv6/conf/{each}/disable_ipv6=1")
            run("ip", "link", "set", each, "up")
        handle = os.open(node(tap), os.O_RDWR)
        guest = stack.enter_context(Capture(handle))
        fcntl.ioctl(handle, tuntap.TUNSETIFF, tuntap.IFREQ.pack(b"", tuntap.IFF_TAP | tuntap.IFF_NO_PI))
        wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        wire.bind((far, 0))
        yield Vf(device, wire, guest)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """No table is left by a test that failed."""
    yield
    nft("flush ruleset", check=False)


@pytest.fixture
def one() -> Iterator[Vf]:
    with vf("vf0") as found:
        yield found


def nft(command: str, check: bool = True) -> str:
    code, told, error = nftables.Nftables().cmd(command)
    assert not (check and code), error
    return str(told)


def protect(device: str = "vf0", siblings: bool = True) -> None:
    frames.install(NIC, device, OWN, siblings)


def protected(device: str = "vf0", siblings: bool = True) -> bool:
    return frames.is_installed(NIC, device, OWN, siblings)


def test_without_a_filter_everything_is_heard(one: Vf) -> None:
    assert one.heard() == {OWN, SIBLING, STRANGER}
    assert not protected()


def test_a_guest_never_hears_itself(one: Vf) -> None:
    protect(siblings=False)
    frames.set_vf_macs(NIC, [OWN, SIBLING])
    assert one.heard() == {SIBLING, STRANGER}
    assert protected(siblings=False) and not protected() and not frames.is_installed(NIC, "vf0", SIBLING, False)


def test_nor_its_siblings_as_they_come_and_go(one: Vf) -> None:
    protect()
    assert one.heard() == {SIBLING, STRANGER}
    for _ in range(2):
        frames.set_vf_macs(NIC, [SIBLING, OWN])
        assert one.heard() == {STRANGER}
    assert protected() and frames.vf_macs(NIC) == {OWN, SIBLING}
    for _ in range(2):
        frames.set_vf_macs(NIC, [OWN, OWN])
        assert one.heard() == {SIBLING, STRANGER}
    assert protected() and frames.vf_macs(NIC) == {OWN}


def test_what_is_asked_last_is_in_force(one: Vf) -> None:
    protect()
    frames.set_vf_macs(NIC, [SIBLING])
    for siblings, heard in ((True, {STRANGER}), (False, {SIBLING, STRANGER}), (True, {STRANGER})):
        protect(siblings=siblings)
        assert one.heard() == heard and protected(siblings=siblings)
    protect("wire")
    assert protected("wire") and not protected()


def test_the_table_goes_with_the_last_that_is_protected(one: Vf) -> None:
    protect()
    frames.install(NIC, "wire", SIBLING, True)
    frames.set_vf_macs(NIC, [OWN, SIBLING])
    frames.remove(NIC, SIBLING)
    assert protected() and not frames.is_installed(NIC, "wire", SIBLING, True) and one.heard() == {STRANGER}
    frames.remove(NIC, OWN)
    assert not nft("list tables") and one.heard() == {OWN, SIBLING, STRANGER}


def test_the_kernel_itself_keeps_a_table_that_protects_a_vf(one: Vf) -> None:
    protect(siblings=False)
    frames.set_vf_macs(NIC, [SIBLING])
    # What is said to it when a table seemed to be empty, and another guest came in between.
    with pytest.raises(AssertionError, match="Device or resource busy"):
        nft("flush map netdev {0} siblings; delete chain netdev {0} reflected".format("libvirt-vepa-eth1"))
    assert protected(siblings=False) and frames.vf_macs(NIC) == {SIBLING} and one.heard() == {SIBLING, STRANGER}


def test_nothing_there_is_fine() -> None:
    frames.remove(NIC, OWN)
    frames.set_vf_macs(NIC, [OWN])
    assert frames.vf_macs(NIC) is None and not protected() and not nft("list tables")


def test_nics_are_apart_and_what_others_made_is_left(one: Vf) -> None:
    nft("add table netdev admin; add chain netdev admin own")
    before = nft("list ruleset")
    protect()
    frames.install(NicKey("eth2"), "wire", OWN, True)
    frames.set_vf_macs(NIC, [OWN])
    frames.set_vf_macs(NicKey("eth2"), [SIBLING])
    assert (frames.vf_macs(NIC), frames.vf_macs(NicKey("eth2"))) == ({OWN}, {SIBLING})
    frames.remove(NIC, OWN)
    assert frames.vf_macs(NicKey("eth2")) == {SIBLING}
    frames.remove(NicKey("eth2"), OWN)
    assert nft("list ruleset") == before


def test_a_device_that_goes_and_comes_again() -> None:
    with vf("vf0"):
        protect()
        frames.set_vf_macs(NIC, [SIBLING])
    assert not protected()
    with vf("vf0") as again:
        # Newer kernels put the hook at the new device by themselves, older ones have deleted the chain.
        assert protected() == (OWN not in again.heard())
        protect()
        assert protected() and again.heard() == {STRANGER}
    frames.remove(NIC, OWN)
    assert not nft("list tables")


def test_a_hook_that_went_with_a_renamed_device_is_noticed() -> None:
    with vf("vf0"):
        protect()
        run("ip", "link", "set", "vf0", "down")
        run("ip", "link", "set", "vf0", "name", "other")
        assert not protected()
        run("ip", "link", "add", "vf0", "type", "bridge")
        try:
            hooked = 'device "vf0"' in nft("list table netdev libvirt-vepa-eth1")
            assert protected() == hooked
        finally:
            run("ip", "link", "delete", "vf0")


@pytest.mark.parametrize("name", ODD)
def test_odd_names(name: str) -> None:
    key = NicKey(name)
    with vf(name) as odd:
        frames.install(key, name, OWN, True)
        frames.set_vf_macs(key, [SIBLING])
        assert frames.is_installed(key, name, OWN, True) and odd.heard() == {STRANGER}
        # What nft itself takes for a name (its scanner.l).
        assert re.match(r"table netdev [a-z][\w/.-]* {$", nft("list ruleset"), re.ASCII | re.MULTILINE)
        frames.remove(key, OWN)
        assert not nft("list tables")


def test_names_that_look_alike_are_apart() -> None:
    for name in ODD:
        frames.install(NicKey(name), "lo", OWN, False)
    assert nft("list tables").count("table netdev ") == len(ODD)


@pytest.mark.parametrize(
    "harm",
    [
        "delete table netdev {table}",
        "flush chain netdev {table} vf-{own}",
        "flush chain netdev {table} vf-{own}; delete chain netdev {table} vf-{own}",
        "flush chain netdev {table} vf-{own}; delete chain netdev {table} vf-{own};"
        "add chain netdev {table} vf-{own} {{ type filter hook ingress device wire priority 0; }};"
        f"add rule netdev {{table}} vf-{{own}} ether saddr {OWN} jump reflected;"
        "add rule netdev {table} vf-{own} ether saddr vmap @siblings",
        "insert rule netdev {table} vf-{own} accept",
        "flush chain netdev {table} reflected",
        "add chain netdev {table} vf-{own} {{ policy drop; }}",
        "add table netdev {table} {{ flags dormant; }}",
    ],
)
def test_what_others_do_to_it_is_noticed_and_mended(one: Vf, harm: str) -> None:
    protect()
    nft(harm.format(table="libvirt-vepa-eth1", own=OWN.digits))
    assert not protected()
    protect()
    frames.set_vf_macs(NIC, [SIBLING])
    assert protected() and one.heard() == {STRANGER}


def test_a_table_that_somebody_put_to_sleep_can_be_removed(one: Vf) -> None:
    protect()
    frames.set_vf_macs(NIC, [SIBLING])
    nft("add table netdev libvirt-vepa-eth1 { flags dormant; }")
    frames.set_vf_macs(NIC, [OWN])
    frames.remove(NIC, OWN)
    assert not nft("list tables") and one.heard() == {OWN, SIBLING, STRANGER}


def test_a_snapshot_reads_the_table_once_for_all_vfs(one: Vf, host: Host) -> None:
    places = {"vf0": OWN, "wire": SIBLING}
    for device, address in places.items():
        frames.install(NIC, device, address, True)
    frames.set_vf_macs(NIC, [OWN])
    steps = [DropReflectedFrames("eth1", NIC, NicKey(device), str(address), True) for device, address in places.items()]
    known = UpdateVfMacSet("eth1", NIC, str(SIBLING))
    drift = f"the filters of eth1 do not know {SIBLING}"
    with Snapshot() as netlink:
        seen = replace(host, netlink=netlink)
        assert not any(steps[0].verify(seen))
        nft("flush ruleset")
        assert not any(steps[1].verify(seen)) and list(known.verify(seen)) == [drift]
    assert list(steps[1].verify(host)) == ["wire is without its filter"] and not any(known.verify(host))


def test_a_device_that_is_not_there_is_one_line() -> None:
    with pytest.raises(KernelError, match=r"^cannot keep reflected frames from vf0: No such device; the device has"):
        protect()
    assert not nft("list tables")


def test_without_the_binding_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nftables", None)
    assert frames.vf_macs(NIC) is None
    frames.set_vf_macs(NIC, [OWN])
    for call in (protect_loopback, protected):
        with pytest.raises(HostError, match=r"^Python's module 'nftables' is missing; install the package python3-nft"):
            call()


def protect_loopback() -> None:
    frames.install(NIC, "lo", OWN, False)


def test_without_root_it_is_one_line() -> None:
    told = [told_by(call, "os.setuid(65534)") for call in ("set_vf_macs('eth1', [])", "vf_macs('eth1')")]
    assert [line.partition(": ")[0] for line in told] == [
        "cannot tell the filters of eth1 the MACs of its VFs",
        "cannot read the table of eth1",
    ]
    assert {line.partition(": ")[2] for line in told} == {"Operation not permitted; run as root with CAP_NET_ADMIN"}


def test_without_the_kernels_part_it_is_one_line() -> None:
    # strace lets the kernel answer as one that was built without it.
    lacking = ("strace", "-qq", "-o/dev/null", "-einject=socket:error=EPROTONOSUPPORT")
    # The first socket only looks for the device.
    protecting = (*lacking[:-1], lacking[-1] + ":when=2+")
    assert told_by(f"install('eth1', 'lo', {MADE}, False)", "pass", *protecting) == (
        "cannot keep reflected frames from lo: the kernel has no nftables for network devices; "
        "use one with CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_INGRESS"
    )
    # A guest in mode bridge needs none.
    for call in (f"set_vf_macs('eth1', [{MADE}])", "vf_macs('eth1')", f"remove('eth1', {MADE})"):
        assert told_by(call, "pass", *lacking) == ""


# The guest's MAC, in the words of a program.
MADE = f"addresses.MacAddress.parse('{OWN}')"


def told_by(call: str, before: str, *through: str) -> str:
    """Return what one call in a process of its own is refused with, or nothing."""
    program = (
        "import os\nfrom libvirt_vepa import errors\nfrom libvirt_vepa.kernel import nftables as filter\n"
        f"from libvirt_vepa.model import address as addresses\n{before}\n"
        f"try: filter.{call}\nexcept errors.VepaError as error: print(error)"
    )
    done = run(*through, sys.executable, "-c", program)
    assert not done.stderr
    return done.stdout.rstrip("\n")


def work(number: int) -> None:
    """What a guest does from its start to its end, again and again, and what must be true meanwhile."""
    device, own = f"many{number}", MacAddress.parse(mac(number))
    for siblings in (True, False) * 2:
        frames.install(NIC, device, own, siblings)
        frames.set_vf_macs(NIC, [own])
        assert frames.is_installed(NIC, device, own, siblings)
        # Whoever was the last to say: in the product only who has the NIC's lock says anything.
        assert len(frames.vf_macs(NIC) or ()) == 1
        frames.remove(NIC, own)
        assert not frames.is_installed(NIC, device, own, siblings)


def test_guests_that_come_and_go_at_once() -> None:
    numbers = range(1, 5)
    for number in numbers:
        run("ip", "link", "add", f"many{number}", "type", "bridge")
    try:
        assert children(work, *((number,) for number in numbers)) == [0] * len(numbers)
        assert not nft("list tables")
    finally:
        for number in numbers:
            run("ip", "link", "delete", f"many{number}")


def killed_at(number: int) -> bool:
    """Run the program and kill it before its n-th transaction; tell whether there was one."""
    inject = f"-einject=sendmsg:signal=SIGKILL:when={number}"
    words = ("strace", "-qq", "-o/dev/null", "-etrace=sendmsg", inject, sys.executable, "-c", PROGRAM)
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL) and not done.stderr, done
    return done.returncode != 0


def test_killed_at_any_moment_the_calls_mend_it(one: Vf) -> None:
    points = 0
    while killed_at(points + 1):
        points += 1
        if points % 2:
            protect()
            frames.set_vf_macs(NIC, [OWN, SIBLING])
            assert protected() and one.heard() == {STRANGER}
        frames.remove(NIC, OWN)
        assert not nft("list tables"), points
    assert points >= 5
    assert not nft("list tables")
