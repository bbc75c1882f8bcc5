# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests as a daemon that runs them describes them."""

from __future__ import annotations

from libvirt_vepa.model.interface import Guest


def these(*running: Guest) -> dict[str, bytes]:
    """Return what the daemon would say of these guests."""

    def described(one: Guest) -> bytes:
        aliases = "".join(f"<interface><alias name='{request.alias}'/></interface>" for request in one.requests)
        return f"<domain><devices>{aliases}</devices></domain>".encode()

    return {one.uuid: described(one) for one in running}
