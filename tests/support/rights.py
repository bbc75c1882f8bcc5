# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What polkit is told of alice, who is in group libvirt, of bob, of whom nothing is said, and of carol."""

from __future__ import annotations

MANAGE = "org.libvirt.unix.manage"
# As https://libvirt.org/aclpolkit.html has it. Debian's own rules let group libvirt open the connection; everybody may
# read, who may open it.
_RULES = """\
polkit.addRule(function(action, subject) {
    if (subject.user == "carol" && action.id == "org.libvirt.unix.manage") {
        return polkit.Result.YES;
    }
    if (action.id.indexOf("org.libvirt.api.") == 0 && subject.isInGroup("libvirt")) {
        return polkit.Result.YES;
    }
    if (subject.user == "carol" && action.id.indexOf("org.libvirt.api.domain.") == 0 &&
        action.lookup("connect_driver") == "QEMU" && action.lookup("domain_name") == "GUEST") {
        return polkit.Result.YES;
    }
});
"""


def rules(guest: str) -> str:
    """Return rules by which alice may change every guest, and carol this one."""
    return _RULES.replace("GUEST", guest)
