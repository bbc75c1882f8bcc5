# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The README's sessions and the manual pages', typed in as they stand there: what they show is what happens."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import manual, readme
from tests.lab.daemon import Daemon, virsh
from tests.lab.guest import Guest
from tests.lab.hook import HOOK
from tests.lab.network import nic
from tests.lab.shell import run
from tests.support.socket_unit import enabled_socket


@pytest.fixture
def folder(libvirtd: Daemon, tmp_path: Path) -> Iterator[Path]:
    """A folder with the README's files, on a host whose NIC is called as there."""
    for name, text in readme.files():
        (tmp_path / name).write_text(text, encoding="utf-8")
    run("libvirt-vepa", "iface-undefine", "lan", check=False)
    # As the package's installation leaves it.
    with nic("eth0"), enabled_socket():
        yield tmp_path
        virsh("destroy", "web", check=False)
        virsh("undefine", "web", check=False)
        run("libvirt-vepa", "iface-undefine", "lan", check=False)
        run("libvirt-vepa", "disable")


def shown(command: str, folder: Path) -> str:
    # The lab's own default URI would win over the one that the README sets.
    command = f"unset LIBVIRT_DEFAULT_URI; {command}"
    done = subprocess.run(
        command, shell=True, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout.rstrip("\n")


def test_every_command_prints_what_is_shown(folder: Path) -> None:
    commands = list(readme.session())
    assert len(commands) > 25
    for command, output in commands:
        found = shown(command, folder)
        assert readme.is_shown(output, found), f"{readme.PROMPT}{command}\n{found}"


def test_what_is_seen_without_the_hook_is_in_the_manual(guest: Guest) -> None:
    hook = Path(HOOK)
    away = hook.rename(hook.parents[1] / "away")
    try:
        done = virsh("start", guest.name, check=False)
    finally:
        away.rename(hook)
    seen = done.stderr.strip().rpartition("internal error: ")[2]
    told = manual.plain(manual.section(manual.page("libvirt-vepa.8"), "DIAGNOSTICS"))
    assert seen and seen in told.splitlines()
