# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What belongs to a NIC and not to one guest: settings that guests share, and VFs that a definition has made.

One record a NIC and kind: what it was before the first user came, what they need, and who they are.
The last one puts it back. The caller holds the NIC's lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from libvirt_vepa.errors import StateError
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.store import atomic_file

ENDING = ".json"
# What guests share of a NIC: its embedded switch, and whether it forwards to macvtaps by itself.
SWITCH, OFFLOAD = "hwmode", "l2-fwd-offload"


@dataclass(frozen=True)
class SharedSetting:
    """A setting of a NIC that is not as it was: `users` are the names of those who need it, by their UUID.

    `card` names the NIC.
    """

    kind: str
    card: NicKey
    original: str
    value: str
    users: Mapping[str, str]

    def other_user(self, uuid: str) -> str | None:
        """Return the name of a user that is not this one, or None."""
        return next((name for user, name in self.users.items() if user != uuid), None)

    def with_user(self, uuid: str, name: str) -> SharedSetting:
        """Return it with one more user."""
        return replace(self, users={**self.users, uuid: name})

    def without_user(self, uuid: str) -> SharedSetting:
        """Return it without a user."""
        return replace(self, users={user: name for user, name in self.users.items() if user != uuid})


class SharedSettingStore:
    """The records on disk. Every method raises StateError where they cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, kind: str, card: NicKey) -> SharedSetting | None:
        """Return the record, or None where nothing of that kind is shared."""
        path = self._path(kind, card)
        with atomic_file.state_errors(f"read {path}"):
            try:
                return SharedSetting(**{**json.loads(path.read_text(encoding="utf-8")), "card": card})
            except FileNotFoundError:
                return None
            except (ValueError, TypeError, RecursionError) as error:
                remedy = f"see with 'libvirt-vepa status' that no guest uses {card}, then remove the file"
                raise StateError(f"{path} is damaged", remedy) from error

    def list(self, kind: str) -> tuple[SharedSetting, ...]:
        """Return all records of a kind."""
        names = sorted(path.name for path in atomic_file.entries(self._folder))
        mine = (name for name in names if name.startswith(f"{kind}-"))
        found = (self.find(kind, NicKey(name.removeprefix(f"{kind}-").removesuffix(ENDING))) for name in mine)
        return tuple(sharing for sharing in found if sharing)

    def save(self, sharing: SharedSetting) -> None:
        """Write a record, whole and durable."""
        atomic_file.save(self._path(sharing.kind, sharing.card), json.dumps(asdict(sharing), indent=1) + "\n")

    def delete(self, kind: str, card: NicKey) -> None:
        """Remove a record, and what an interrupted `keep` left of one."""
        atomic_file.remove(self._path(kind, card))

    def _path(self, kind: str, card: NicKey) -> Path:
        return self._folder / f"{kind}-{card}{ENDING}"
