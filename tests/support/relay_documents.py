# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Documents as clients and the daemon send them: with a request, without one, and with one that cannot be meant."""

from __future__ import annotations

from libvirt_vepa.xml import translate

REQUEST = """<interface type='physical'>
  <name>lan</name><type>macvtap</type><target mode='vepa'/><mac address='52:54:00:00:00:01'/>
</interface>"""
DEVICE = REQUEST.encode()
DOMAIN = f"<domain type='kvm'>\n<name>web</name>\n<devices>{REQUEST}</devices>\n</domain>\n".encode()
SNAPSHOT = b"<domainsnapshot><name>s</name>" + DOMAIN + b"</domainsnapshot>"
STORED = translate.to_stored(DOMAIN, "a document")
# Of somebody else, with our word in it.
OTHER = b"<domain type='kvm'><name>web</name><title>physical</title><devices/></domain>"
# A client's with a mode that there is not, and a daemon's of a version that is to come.
WRONG = DOMAIN.replace(b"mode='vepa'", b"mode='sideways'")
NEWER = STORED.replace(b"<physical:interface alias=", b"<physical:interface newer='1' alias=")
