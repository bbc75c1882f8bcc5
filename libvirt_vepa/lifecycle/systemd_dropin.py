# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A drop-in for the unit of libvirt's daemon, so that guests are started after the NICs that they ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from libvirt_vepa.errors import HostError
from libvirt_vepa.host import nic_names
from libvirt_vepa.kernel.rtnetlink import Netlink
from libvirt_vepa.model.interface import NicDefinition
from libvirt_vepa.store import definitions
from libvirt_vepa.xml import definition

# How udev's own rules name the unit of a network device (99-systemd.rules).
DEVICES = "sys/subsystem/net/devices"
TEXT = """\
# The guests of this host that ask for '{name}' are started when its NIC is there, or when systemd has waited for it,
# 90 seconds unless told otherwise (DefaultDeviceTimeoutSec= in systemd-system.conf(5)).
# Keep this as /etc/systemd/system/libvirtd.service.d/{name}.conf, or below virtqemud.service.d where libvirt's
# daemons are modular, and run 'systemctl daemon-reload'.
[Unit]
Wants={units}
After={units}
"""


def text(word: str, read: Callable[[str], tuple[bytes, str]]) -> str:
    """Return the drop-in for a definition: `word` is the file that holds it, which is `read`, or its name.

    Raises HostError and XmlError.
    """
    is_name = word in definitions.names() and not Path(word).exists()
    wanted = definitions.load(word) if is_name else definition.read(*read(word))
    with Netlink() as netlink:
        return _text(wanted, netlink)


def _text(wanted: NicDefinition, netlink: Netlink) -> str:
    """Return the drop-in: it names the NIC, and the bridge that the definition names.

    systemd knows devices by their names only, so a NIC that is given otherwise must be there to tell.
    """
    names = (_name(wanted, netlink), *((wanted.bridge,) if wanted.bridge else ()))
    return TEXT.format(name=wanted.name, units=" ".join(map(unit, names)))


def _name(wanted: NicDefinition, netlink: Netlink) -> str:
    found = nic_names.find(wanted, netlink) or ((wanted.device,) if wanted.device else ())
    if len(found) == 1:
        return found[0]
    number = f"{len(found)} NICs have" if found else "no NIC has"
    what = f"'{wanted.name}' is given by {wanted.source}, which {number} now, and systemd knows a NIC by its name only"
    raise HostError(what, "ask again when it is there, or define it by <source dev='…'/>")


def unit(device: str) -> str:
    """Return the unit of a network device (unit_name_path_escape of systemd, systemd-escape(1))."""
    return re.sub(r"[^A-Za-z0-9:_./]", _escaped, f"{DEVICES}/{device}").replace("/", "-") + ".device"


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\x{octet:02x}" for octet in found[0].encode())
