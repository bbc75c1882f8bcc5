# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Units of network devices, named as systemd names them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from libvirt_vepa.lifecycle.systemd_dropin import unit

NAMES = (
    "eth0",
    "enp3s0f1np1",
    "br-lan",
    "eth0.42",
    "a@b",
    ".hidden",
    "wan_1",
    "x+y",
    "q'\"\\",
    "a,b",
    "~!#$^&*()",
    "-",
)


def test_a_plain_name() -> None:
    assert unit("eth0") == "sys-subsystem-net-devices-eth0.device"


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="no systemd-escape on this machine (package systemd)")
@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_escaped_as_systemd_does(name: str) -> None:
    words = ("systemd-escape", "--path", "--suffix=device", f"/sys/subsystem/net/devices/{name}")
    assert unit(name) + "\n" == subprocess.run(words, capture_output=True, text=True, check=True).stdout
