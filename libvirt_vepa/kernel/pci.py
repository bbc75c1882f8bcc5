# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""PCI functions as /sys shows them: which netdev and driver a function has, and the virtual ones of an SR-IOV card.

Layouts differ: a card has one function per port, or one for several ports; VFs may be on other buses than the
function they belong to (linux/Documentation/PCI/pci-iov-howto.rst, Documentation/ABI/testing/sysfs-bus-pci).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from libvirt_vepa.errors import KernelError, XmlError
from libvirt_vepa.kernel.link_events import await_link, link_events
from libvirt_vepa.kernel.sysfs import is_running, read
from libvirt_vepa.model.address import NicKey, PciAddress

# Where the tree is; a test may have another.
ROOT = Path("/sys/")
VIRTUAL = "virtfn"
# The driver of what a guest has for itself.
GIVEN_AWAY = "vfio-pci"
# How long the netdev of a VF may take.
SECONDS = 15.0
BY_HAND = "see the kernel's log, and bind the driver by hand"


@dataclass(frozen=True)
class VirtualFunction:
    """A VF: its number, where it is, its driver ("" where none is bound), and its netdev in this network namespace."""

    number: int
    address: PciAddress
    driver: str
    device: str | None


def function_of(device: str) -> PciAddress | None:
    """Return the PCI function that a netdev belongs to, None where it is no PCI card."""
    return _target(ROOT / "class/net" / device / "device")


def key_of(device: str) -> NicKey:
    """Return what names a netdev's hardware."""
    return NicKey(function_of(device) or device)


def device_of(address: PciAddress) -> str | None:
    """Return the netdev of a function in this network namespace, the first port's where it has several."""
    folder = _function(address)
    netdevs = (each for net in (folder / "net", *folder.glob("virtio*/net")) for each in map(net.joinpath, _names(net)))
    first = min(netdevs, key=lambda each: (_number(each / "dev_port"), each.name), default=None)
    return first.name if first else None


def driver_of(address: PciAddress) -> str:
    """Return the driver that is bound to a function, nothing where none is."""
    return _driver(_function(address))


def is_vf_device(device: str) -> bool:
    """Tell whether a netdev is that of a virtual function."""
    return (ROOT / "class/net" / device / "device/physfn").exists()


def physical_of(address: PciAddress) -> PciAddress | None:
    """Return the physical function that a virtual one belongs to, None where it is no virtual one."""
    return _target(_function(address) / "physfn")


def vfs_of(address: PciAddress) -> tuple[VirtualFunction, ...]:
    """Return the virtual functions of a physical one, in order of their numbers."""
    folder = _function(address)
    numbers = sorted(int(name[len(VIRTUAL) :]) for name in _names(folder) if name.startswith(VIRTUAL))
    found = ((number, _target(folder / f"{VIRTUAL}{number}")) for number in numbers)
    return tuple(VirtualFunction(number, vf, driver_of(vf), device_of(vf)) for number, vf in found if vf is not None)


def counts(address: PciAddress) -> tuple[int, int]:
    """Return how many VFs a function can have and how many it has; 0 and 0 where it is not capable of any."""
    folder = _function(address)
    return _number(folder / "sriov_totalvfs"), _number(folder / "sriov_numvfs")


def set_count(address: PciAddress, count: int) -> None:
    """Give a function that many VFs. The kernel refuses to go from one number to another but by way of 0.

    Raises KernelError, also where the driver makes another number of them without a word (bnxt_sriov_configure).
    """
    remedy = f"the card can have {counts(address)[0]}; where it has some already they must go first"
    _write(_function(address) / "sriov_numvfs", str(count), f"give {address} {count} VFs", remedy)
    now = counts(address)[1]
    if now != count:
        raise KernelError(f"{address} was to have {count} VFs, and has {now}", "see the kernel's log for its driver")


def rebind(address: PciAddress, seconds: float) -> str:
    """Take a function's driver away and give it back, and return the netdev that it has then.

    One that has none, as a rebind that was killed halfway leaves it, gets the driver that the kernel has for it.
    udev may give the netdev another name afterwards. Raises KernelError, after `seconds` where none comes.
    """
    driver = driver_of(address)
    home = ROOT / "bus/pci/drivers" / driver
    with link_events() as announced:
        if driver:
            _write(home / "unbind", str(address), f"take driver {driver} from {address}", BY_HAND)
            _write(home / "bind", str(address), f"give {address} driver {driver}", BY_HAND)
        else:
            probe(address)
        found = await_link(lambda: device_of(address), announced, seconds)
    if found is None:
        raise _no_devices((address,), seconds)
    return found


def probe(address: PciAddress) -> None:
    """Give a function that has no driver the one that is for it, if any. Raises KernelError."""
    _write(ROOT / "bus/pci/drivers_probe", str(address), f"give {address} a driver", BY_HAND)


def await_devices(addresses: tuple[PciAddress, ...], seconds: float) -> None:
    """Return once each of these functions has a netdev. Raises KernelError after `seconds`."""
    with link_events() as announced:
        if not await_link(lambda: all(map(device_of, addresses)), announced, seconds):
            raise _no_devices(addresses, seconds)


def await_running(device: str, seconds: float) -> bool:
    """Wait until a netdev is up and has a carrier; tell whether it has. Raises KernelError."""
    with link_events() as announced:
        return await_link(lambda: is_running(device), announced, seconds)


def _no_devices(addresses: tuple[PciAddress, ...], seconds: float) -> KernelError:
    missing = [f"{address} (driver {driver_of(address) or 'none'})" for address in addresses if not device_of(address)]
    return KernelError(
        f"no network device of {', '.join(missing)} appeared in {seconds:g} seconds",
        "see that the VF driver is loaded and bound to it, and that nothing moves it to another network namespace",
    )


def _function(address: PciAddress) -> Path:
    return ROOT / "bus/pci/devices" / str(address)


def _target(link: Path) -> PciAddress | None:
    """Return the function that a link points to; a virtio card's is the one above it."""
    target = Path(os.path.realpath(link))
    name = target.parent.name if target.name.startswith("virtio") else target.name
    try:
        return PciAddress.parse(name)
    except XmlError:
        return None


def _driver(folder: Path) -> str:
    try:
        return (folder / "driver").readlink().name
    except OSError:
        return ""


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _number(path: Path) -> int:
    return int(read(path) or "0", 0)


def _write(path: Path, text: str, action: str, remedy: str) -> None:
    try:
        # Not made where it is missing: /sys would say "Permission denied".
        handle = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise KernelError(f"cannot {action}: {error.strerror}", remedy) from error
