# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The README's sessions, typed in as they stand there: what it shows is what happens."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.daemon import Daemon, virsh
from tests.lab.guest import Guest
from tests.lab.hook import HOOK
from tests.lab.network import nic
from tests.lab.shell import run

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "# "


def blocks() -> Iterator[tuple[str, str | None, str]]:
    """Yield language, file name and text of every fenced block."""
    for found in BLOCK.finditer(README.read_text(encoding="utf-8")):
        yield found[1], found[2], found[3]


def session() -> Iterator[tuple[str, str]]:
    """Yield each command that the README shows, with what it is said to print."""
    for language, _, text in blocks():
        for part in text.split(f"\n{PROMPT}") if language == "console" else ():
            command, _, output = part.removeprefix(PROMPT).partition("\n")
            yield command, output.rstrip("\n")


@pytest.fixture
def folder(libvirtd: Daemon, tmp_path: Path) -> Iterator[Path]:
    """A folder with the README's files, on a host whose NIC is called as there."""
    for _, name, text in blocks():
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
    run("libvirt-vepa", "iface-undefine", "lan", check=False)
    with nic("eth0"):
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


def test_every_command_prints_what_the_readme_shows(folder: Path) -> None:
    commands = list(session())
    assert len(commands) > 15
    for command, output in commands:
        # Three dots stand for what differs from host to host.
        expected = re.escape(output).replace("…", ".*")
        assert re.fullmatch(expected, found := shown(command, folder)), f"{PROMPT}{command}\n{found}"


def test_what_is_seen_without_the_hook_is_in_the_readme(guest: Guest) -> None:
    hook = Path(HOOK)
    away = hook.rename(hook.parents[1] / "away")
    try:
        done = virsh("start", guest.name, check=False)
    finally:
        away.rename(hook)
    seen = done.stderr.strip().rpartition("internal error: ")[2]
    assert seen and f"| `{seen}` |" in README.read_text(encoding="utf-8")
