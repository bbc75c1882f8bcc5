# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""All that a connection may need, loaded at once: for the service, whose children find it there.

A connection that libvirt starts for one client loads each part when it needs it.
"""

from __future__ import annotations

import codecs

from libvirt_vepa.lifecycle import undefine
from libvirt_vepa.proxy import host_interfaces, hotplug
from libvirt_vepa.xml import identity, translate

# What is loaded late elsewhere (relay, translation, host_interfaces).
LOADED = (undefine, host_interfaces, hotplug, identity, translate)
SAMPLE = b"<interface type='physical'><name>lan</name><mac address='52:54:00:00:00:01'/></interface>"


def warm() -> None:
    """Translate an interface both ways, so that schema and stylesheets are there. Raises HostError where one is not."""
    stored, _ = translate.split(SAMPLE, __name__)
    translate.to_proposed(stored, __name__)
    # Of what is below /sys.
    codecs.lookup("ascii")
