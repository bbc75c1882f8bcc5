# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Definitions of NICs as people write them."""

from __future__ import annotations


def definition(name: str, device: str, *content: str) -> str:
    """Return a definition in the canonical spelling, on one line; `content` is what it says beside."""
    children = f"<source dev='{device}'/><type>ethernet</type>{''.join(content)}"
    return f"<interface type='physical' name='{name}'>{children}</interface>\n"


def proposed(name: str, device: str, kind: str) -> str:
    """Return one as the proposal's mail spells it, a remark included; only the choices are another's."""
    return f"""\
<interface type ='physical' name='{name}'/>
<source dev='{device}'/>
<type='{kind}'/> // it can be of one type
<mode='vepa|pepa|bridge'/>
</interface>
"""
