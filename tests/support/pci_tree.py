# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tree like /sys, with the PCI cards that a test puts there."""

from __future__ import annotations

from pathlib import Path


class Tree:
    """What the kernel shows of PCI cards, with links where it has links."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bus/pci/devices", "bus/pci/drivers", "class/net", "devices"):
            (root / folder).mkdir(parents=True)

    def function(self, address: str, driver: str = "", bridge: str = "pci0000:00") -> Path:
        """Add a function, which has its place below a bridge and a link among all PCI devices."""
        folder = self.root / "devices" / bridge / address
        folder.mkdir(parents=True)
        (self.root / "bus/pci/devices" / address).symlink_to(folder)
        if driver:
            self.drive(folder, driver)
        return folder

    def drive(self, folder: Path, driver: str) -> None:
        home = self.root / "bus/pci/drivers" / driver
        home.mkdir(exist_ok=True)
        for name in ("bind", "unbind"):
            (home / name).touch()
        (folder / "driver").symlink_to(home)

    def netdev(self, folder: Path, name: str, port: int = 0) -> None:
        """Give a device a netdev."""
        device = folder / "net" / name
        device.mkdir(parents=True)
        (device / "dev_port").write_text(f"{port}\n")
        (device / "device").symlink_to(folder)
        (self.root / "class/net" / name).symlink_to(device)

    def counts(self, folder: Path, total: int, now: int) -> None:
        (folder / "sriov_totalvfs").write_text(f"{total}\n")
        (folder / "sriov_numvfs").write_text(f"{now}\n")

    def vf(self, physical: Path, number: int, address: str, driver: str = "", name: str = "") -> Path:
        """Add a virtual function and, where a name is given, its netdev."""
        folder = self.function(address, driver)
        (folder / "physfn").symlink_to(physical)
        (physical / f"virtfn{number}").symlink_to(folder)
        if name:
            self.netdev(folder, name)
        return folder
