# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's host after `make install`, looked at with testinfra."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import testinfra

from tests.lab.shell import run

# Those that are for people to run, and a guest for which libvirt-vepa must find all that it has.
PROGRAMS = ("libvirt-vepa", "libvirt-vepa-connect", "libvirt-vepad")
OURS = "<domain><devices><interface type='physical'><name>lan</name></interface></devices></domain>"


@pytest.fixture(scope="session")
def host() -> Iterator[Any]:
    run("make", "install")
    yield testinfra.get_host("local://")
    run("make", "uninstall")
