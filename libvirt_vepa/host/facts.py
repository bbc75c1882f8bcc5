# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A read-only look at the host: only what the requests of one guest mention.

The cost does not grow with the number of guests that run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from libvirt_vepa.errors import HostError
from libvirt_vepa.host import nic_names, sriov_inventory
from libvirt_vepa.host.sriov_inventory import NicHardware
from libvirt_vepa.kernel import sysfs
from libvirt_vepa.kernel.rtnetlink import Link, Netlink
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.model.interface import Guest, HostType, NicDefinition
from libvirt_vepa.store import definitions as definitions_module
from libvirt_vepa.store.store import Lease, Store

NO_CARD = NicHardware("")


@dataclass(frozen=True)
class Nic:
    """A NIC that a definition names: the device, what it is a port of, what stands on it, and what card it is.

    `passthru` names the macvtap that has the NIC for itself, "" where there is none. `holder` is the guest whose device
    it is, None for a NIC that is one.
    """

    link: Link
    master: Link | None
    passthru: str
    card: NicHardware = NO_CARD
    holder: Lease | None = None

    @property
    def key(self) -> NicKey:
        """What names it."""
        return NicKey(self.card.address or self.link.name)


@dataclass(frozen=True)
class Definitions:
    """What the definitions of this host mean to a guest.

    `named` are those that it asks for, by name, each with the name that its NIC has now. `claims` has the names of the
    guest's devices that a definition, any of them, gives to its NIC or its bridge, and says to which.
    """

    named: dict[str, NicDefinition]
    claims: dict[str, str]


@dataclass(frozen=True)
class Facts:
    """What is known of the host when a plan is made; what is not there is not in the mappings.

    `definitions` by name, each with its NIC's name as it is now, `nics` and `bridges` by device, `devices` and `leases`
    by the name of the guest's device, `macs` by the address, `claims` as in Definitions. What a guest that starts holds
    itself, from an earlier start, is left out.
    """

    definitions: dict[str, NicDefinition]
    nics: dict[str, Nic]
    bridges: dict[str, Link]
    devices: dict[str, Link]
    leases: dict[str, Lease]
    macs: dict[str, Lease]
    claims: Mapping[str, str] = field(default_factory=dict)


def load_definitions(guest: Guest, directory: Path, netlink: Netlink) -> Definitions:
    """Return the definitions of the names that a guest asks for, and what others claim of the names of its devices.

    Raises HostError where one does not exist, or its NIC is given by what no NIC has, and XmlError where its file is
    damaged.
    """
    found = {}
    for request in guest.requests:
        if request.name not in found:
            definition = definitions_module.load(request.name, directory)
            found[request.name] = replace(definition, device=_device(definition, netlink))
    return Definitions(found, _claims(guest, directory))


def _claims(guest: Guest, directory: Path) -> dict[str, str]:
    """Return as what the definitions know the names of a guest's devices; a damaged definition knows none.

    The NIC may be absent: a guest's device of its name would pass for it, and keep it from having its name.
    """
    devices, found = {request.device for request in guest.requests}, {}
    for name, definition in definitions_module.load_all(directory):
        if isinstance(definition, NicDefinition):
            own = (definition.device, f"the NIC of '{name}'"), (definition.bridge, f"the bridge of '{name}'")
            found.update({text: what for text, what in own if text in devices})
    return found


def _device(definition: NicDefinition, netlink: Netlink) -> str:
    """Return the name that a definition's NIC has now; one that is given by its name need not be there."""
    found = nic_names.find(definition, netlink) or ((definition.device,) if definition.device else ())
    if len(found) != 1:
        what = f"PCI address {definition.address}" if definition.address else f"MAC {definition.mac}"
        number = f"{len(found)} NICs have" if found else "no NIC has"
        remedy = f"see 'ip -d link' and load its driver, or define '{definition.name}' by another one"
        raise HostError(f"'{definition.name}' is given by {what}, which {number} on this host", remedy)
    return found[0]


def gather(guest: Guest, known: Definitions, netlink: Netlink, store: Store, *, running: bool = False) -> Facts:
    """Look at the NICs and devices that a guest's requests mention; changes nothing.

    What a `running` guest holds already is in use, as any other's is.
    """
    own_uuid = "" if running else guest.uuid
    named = known.named
    hosts = tuple(named.values())
    kinds = {
        each.device: {definition.type for definition in hosts if definition.device == each.device} for each in hosts
    }
    nics = {device: _nic(device, types, own_uuid, netlink, store) for device, types in kinds.items()}
    bridges = {definition.bridge: netlink.find(definition.bridge) for definition in named.values() if definition.bridge}
    journal = store.load(guest.uuid) if guest.uuid else None
    own = {use.device for use in journal.uses} if journal and not running else set()
    devices = {request.device: netlink.find(request.device) for request in guest.requests if request.device not in own}
    return Facts(
        definitions=named,
        nics={name: nic for name, nic in nics.items() if nic},
        bridges={name: link for name, link in bridges.items() if link},
        devices={name: link for name, link in devices.items() if link},
        leases=_held(own_uuid, "device", {request.device for request in guest.requests}, store),
        macs=_held(own_uuid, "mac", {str(request.mac) for request in guest.requests}, store),
        claims=known.claims,
    )


def _nic(device: str, kinds: set[HostType], ignoring_guest: str, netlink: Netlink, store: Store) -> Nic | None:
    link = netlink.find(device)
    if link is None:
        return None
    card = sriov_inventory.inspect(link, kinds, ignoring_guest, netlink, store)
    return Nic(link, netlink.at(link.master), _passthru(device, netlink), card, store.holder("device", link.name))


def _passthru(device: str, netlink: Netlink) -> str:
    """Name the macvtap that has the NIC to itself: such a NIC carries no other, so the first one tells."""
    for name in sysfs.uppers(device):
        upper = netlink.find(name)
        if upper is not None and upper.kind in ("macvtap", "macvlan"):
            return name if upper.mode == "passthru" else ""
    return ""


def _held(ignoring_guest: str, kind: str, keys: set[str], store: Store) -> dict[str, Lease]:
    """Return who holds these, where that is not the guest with that UUID."""
    holders = {key: store.holder(kind, key) for key in keys}
    return {key: lease for key, lease in holders.items() if lease is not None and lease.uuid != ignoring_guest}
