"""What guests have of this host's NICs now: the journals beside the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from libvirt_vepa import apply
from libvirt_vepa.errors import VepaError
from libvirt_vepa.journal import Use
from libvirt_vepa.operations import Host


@dataclass(frozen=True)
class InterfaceStatus:
    """One interface of a guest: where it stands, and what is no longer as it was made."""

    guest: str
    uuid: str
    use: Use
    drifts: tuple[str, ...]

    @property
    def state(self) -> str:
        """`ok`, or everything that has drifted."""
        return ", ".join(self.drifts) or "ok"

    def record(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"guest": self.guest, "uuid": self.uuid, **vars(self.use), "drifts": list(self.drifts)}


def interfaces(host: Host) -> tuple[InterfaceStatus, ...]:
    """Return every interface that a journal knows of; a journal that cannot be read is a row of its own."""
    rows: list[InterfaceStatus] = []
    for uuid in host.store.guests():
        try:
            rows.extend(_guest(uuid, host))
        except VepaError as error:
            rows.append(InterfaceStatus("-", uuid, Use("-", "-", "-", "-", "-"), (str(error),)))
    return tuple(rows)


def _guest(uuid: str, host: Host) -> list[InterfaceStatus]:
    journal = host.store.load(uuid)
    if journal is None:
        return []
    # A journal's parts leave out what its interfaces share, such as a NIC that is put up.
    parts = [(use, journal.parted(use.alias)[1]) for use in journal.uses]
    return [InterfaceStatus(journal.guest, uuid, use, apply.verify(apply.steps(part), host)) for use, part in parts]
