# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One request as the metadata holds it: what it may say, and what it asks of a VF.

A request that says more than is known here is never half understood: the rest may be what keeps the
guest, or others, safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from libvirt_vepa.model import NAMESPACE
from libvirt_vepa.settings import READERS, VfSettings

INTERFACE, VLAN, TAG, VF = (f"{{{NAMESPACE}}}{name}" for name in ("interface", "vlan", "tag", "vf"))
# The attributes and the children that each element may have, each of them once.
KNOWN = {
    INTERFACE: ({"alias", "name", "type", "mode"}, {VLAN, VF}),
    VLAN: (set(), {TAG}),
    TAG: ({"id"}, set()),
    VF: (set(READERS), set()),
}


def unknown(request: Any) -> str | None:
    """Return the first thing that a request says and that is not known here, None where there is none."""
    return next(_unknown(request), None)


def _unknown(element: Any) -> Iterator[str]:
    attributes, children = KNOWN[element.tag]
    yield from sorted(set(element.attrib) - attributes)
    seen: set[str] = set()
    for child in element.iterchildren("*"):
        if child.tag not in children - seen:
            yield child.tag
            return
        seen.add(child.tag)
        yield from _unknown(child)


def settings(request: Any) -> VfSettings:
    """Return what a request that is known asks of a VF, its VLAN too. Raises XmlError for what nobody can mean."""
    vlan, vf = request.find(VLAN), request.find(VF)
    tag = None if vlan is None else vlan.find(TAG)
    number = None if vlan is None else "" if tag is None else tag.get("id", "")
    return VfSettings.parse({} if vf is None else vf.attrib, number)
