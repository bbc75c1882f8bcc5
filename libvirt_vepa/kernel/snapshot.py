# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel's network devices as one look has found them, for who asks about many and changes none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

from libvirt_vepa.kernel import link as links
from libvirt_vepa.kernel.link import Link
from libvirt_vepa.kernel.rtnetlink import Netlink, Told, What


class Snapshot(Netlink):
    """A Netlink that reads all devices at once, and whatever else it is asked once; use it in a `with`.

    What is changed, by whomever, since the first question is not seen. A name that the list lacks is asked for by
    itself, once: it may be an alternative name, or that of a device that has come since.
    """

    def __init__(self) -> None:
        self._found: dict[str | int, Link | None] = {}
        self._told: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def _listed(self) -> dict[str | int, bytes]:
        # A list that never stands still is done without.
        with suppress(OSError):
            return links.read_all()
        return {}

    def _get(self, **key: Any) -> Link | None:
        (wanted,) = key.values()
        if wanted not in self._found:
            listed = self._listed.get(wanted)
            self._found[wanted] = links.decode(listed) if listed else super()._get(**key)
        return self._found[wanted]

    def _ask(self, read: Callable[[*What], Told], *what: *What) -> Told:
        asked = (read, *what)
        if asked not in self._told:
            self._told[asked] = super()._ask(read, *what)
        told: Told = self._told[asked]
        return told
