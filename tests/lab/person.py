# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Somebody who has the command change libvirt's client configuration: root, or an ordinary user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.lab.hook import COMMAND, Done, command

CONNECTION = f"{COMMAND}-connect"
ROOTS = Path("/etc/libvirt/libvirt.conf")
USER = 65534


@dataclass(frozen=True)
class Person:
    """Somebody who runs the command, and the file that libvirt reads for them."""

    uid: int
    kind: str
    file: Path
    through: tuple[str, ...] = ()

    @property
    def saved(self) -> Path:
        return self.file.with_name("libvirt.conf.libvirt-vepa-saved")

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.file.parent.glob("*libvirt.conf*")}

    def run(self, word: str, *variables: str, module: bool = False) -> Done:
        return command(word, module=module, through=(*self.through, "env", *variables))

    def said(self, word: str, *variables: str, module: bool = False) -> str:
        done = self.run(word, *variables, module=module)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    def has(self, text: bytes, mode: int = 0o640) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(text)
        self.file.chmod(mode)
        os.chown(self.file, self.uid, self.uid)


def ours(kind: str) -> str:
    return f"qemu+ext:///{kind}?command={CONNECTION}"
