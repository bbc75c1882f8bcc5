"""A read-only look at the host: only what the requests of one guest mention.

The cost does not grow with the number of guests that run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from libvirt_vepa import definitions, sysfs
from libvirt_vepa.model import Guest, HostInterface
from libvirt_vepa.netlink import Link, Netlink
from libvirt_vepa.state import Lease, Store


@dataclass(frozen=True)
class Nic:
    """A NIC that a definition names: the device, what it is a port of, and what stands on it.

    `passthru` names the macvtap that has the NIC for itself, "" where there is none.
    """

    link: Link
    master: Link | None
    passthru: str


@dataclass(frozen=True)
class Facts:
    """What is known of the host when a plan is made; what is not there is not in the mappings.

    `definitions` by name, `nics` and `bridges` by device, `devices` and `leases` by the name of the guest's device,
    `macs` by the address. What a guest that starts itself holds from an earlier start is left out.
    """

    definitions: dict[str, HostInterface]
    nics: dict[str, Nic]
    bridges: dict[str, Link]
    devices: dict[str, Link]
    leases: dict[str, Lease]
    macs: dict[str, Lease]


def load_definitions(guest: Guest, directory: Path) -> dict[str, HostInterface]:
    """Return the definitions of the names that a guest asks for.

    Raises HostError where one does not exist and XmlError where its file is damaged.
    """
    found = {}
    for request in guest.requests:
        if request.name not in found:
            found[request.name] = definitions.load(request.name, directory)
    return found


def observe(
    guest: Guest, named: dict[str, HostInterface], netlink: Netlink, store: Store, *, running: bool = False
) -> Facts:
    """Look at the NICs and devices that a guest's requests mention; changes nothing.

    What a `running` guest holds already is in use, as any other's is.
    """
    nics = {host.device: _nic(host.device, netlink) for host in named.values()}
    bridges = {host.bridge: netlink.find(host.bridge) for host in named.values() if host.bridge}
    journal = store.load(guest.uuid) if guest.uuid else None
    own = {use.device for use in journal.uses} if journal and not running else set()
    own_uuid = "" if running else guest.uuid
    devices = {request.device: netlink.find(request.device) for request in guest.requests if request.device not in own}
    return Facts(
        definitions=named,
        nics={name: nic for name, nic in nics.items() if nic},
        bridges={name: link for name, link in bridges.items() if link},
        devices={name: link for name, link in devices.items() if link},
        leases=_held(own_uuid, "device", {request.device for request in guest.requests}, store),
        macs=_held(own_uuid, "mac", {str(request.mac) for request in guest.requests}, store),
    )


def _nic(device: str, netlink: Netlink) -> Nic | None:
    link = netlink.find(device)
    if link is None:
        return None
    return Nic(link, netlink.at(link.master), _passthru(device, netlink))


def _passthru(device: str, netlink: Netlink) -> str:
    """Name the macvtap that has the NIC to itself: such a NIC carries no other, so the first one tells."""
    for name in sysfs.uppers(device):
        upper = netlink.find(name)
        if upper is not None and upper.kind in ("macvtap", "macvlan"):
            return name if upper.mode == "passthru" else ""
    return ""


def _held(but_by: str, kind: str, keys: set[str], store: Store) -> dict[str, Lease]:
    """Return who holds these, where that is not the guest with that UUID."""
    holders = {key: store.holder(kind, key) for key in keys}
    return {key: lease for key, lease in holders.items() if lease is not None and lease.uuid != but_by}
