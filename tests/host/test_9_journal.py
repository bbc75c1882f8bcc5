# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the machine has written down of all that."""

from __future__ import annotations

from tests.host.hosts import Host


def test_nothing_was_denied_nothing_failed_and_no_program_broke(machine: Host) -> None:
    assert machine.faults() == []
