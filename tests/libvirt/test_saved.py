# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saving and restoring with typed parameters, and metadata: what passes through the connection there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from tests.lab.daemon import virsh
from tests.lab.guest import Guest
from tests.lab.shell import link
from tests.support.via_proxy import URI, squeezed, through

IMAGE = "/run/saved-with-parameters"
FILE, XML = libvirt.VIR_DOMAIN_SAVE_PARAM_FILE, libvirt.VIR_DOMAIN_SAVE_PARAM_DXML


@pytest.fixture
def guest(asked: Guest) -> Guest:
    return asked


@pytest.fixture
def connection(guest: Guest) -> Iterator[libvirt.virConnect]:
    with libvirt.open(URI) as found:
        yield found
    Path(IMAGE).unlink(missing_ok=True)


def seen(connection: libvirt.virConnect, mode: str) -> str:
    """Return what the user sees of the guest, with another mode."""
    xml: str = connection.lookupByName("lab1").XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    return xml.replace("vepa", mode)


def test_save_and_restore_with_parameters(guest: Guest, connection: libvirt.virConnect) -> None:
    virsh("start", guest.name)
    domain, later = connection.lookupByName(guest.name), seen(connection, "pepa")
    domain.saveParams({FILE: IMAGE, XML: seen(connection, "bridge")})
    assert "<target mode='bridge'/>" in connection.saveImageGetXMLDesc(IMAGE)
    connection.restoreParams({FILE: IMAGE, XML: later})
    found = link(guest.device)
    assert found and found["linkinfo"]["info_data"]["mode"] == "private"


def test_parameters_that_cannot_be_meant(guest: Guest, connection: libvirt.virConnect) -> None:
    virsh("start", guest.name)
    with pytest.raises(libvirt.libvirtError, match=r"XML error: the document, line \d+: .*unknown mode 'all'"):
        connection.lookupByName(guest.name).saveParams({FILE: IMAGE, XML: seen(connection, "all")})
    assert connection.lookupByName(guest.name).isActive() and link(guest.device)


def test_metadata_of_ours_is_what_is_stored(guest: Guest) -> None:
    asked = ("metadata", guest.name, "urn:libvirt-vepa:physical:1", "--config")
    assert through(*asked).stdout == virsh(*asked).stdout
    shown = squeezed(through(*asked).stdout).strip().replace('"', "'")
    assert f"<interface alias='ua-physical-{guest.mac.replace(':', '')}' name='lan'" in shown
    through(*asked, "--key", "physical", "--set", shown.replace("mode='vepa'", "mode='bridge'"))
    assert "<target mode='bridge'/>" in through("dumpxml", guest.name).stdout
    through(*asked, "--remove")
    # The interface stays, and its start says what it lacks.
    assert "has no request in the metadata" in through("start", guest.name, check=False).stderr
