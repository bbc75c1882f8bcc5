# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Somebody who has the command change libvirt's client configuration: root, or an ordinary user."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tests.lab.hook import COMMAND, Done, command

CONNECTION = f"{COMMAND}-connect"
ROOTS = Path("/etc/libvirt/libvirt.conf")
USER = 65534
# It depends on who listens in the lab; tests/libvirt/test_users.py has it.
REMARK = re.compile("in a session no guest|qemu:///system is ")


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
    def launcher(self) -> Path:
        return self.file.with_name("libvirt-vepa-connect")

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.file.parent.iterdir() if re.search(r"libvirt\.conf|libvirt-vepa", path.name)}

    def ours(self, kind: str = "") -> str:
        """Return the URI that `enable` sets."""
        return f"qemu+ext:///{kind or self.kind}?command={self.launcher}"

    @property
    def runs(self) -> str:
        """What `enable` says of the launcher."""
        return f"{self.launcher} runs {CONNECTION}, or plain libvirt where that is gone"

    def run(self, word: str, *variables: str, module: bool = False) -> Done:
        return command(*word.split(), module=module, through=(*self.through, "env", *variables))

    def said(self, word: str, *variables: str, module: bool = False) -> list[str]:
        """Return the lines that the command prints, but for what it says of who may use which daemon."""
        done = self.run(word, *variables, module=module)
        assert (done.returncode, done.stderr) == (0, b"")
        return [line for line in done.stdout.decode().splitlines() if not REMARK.match(line)]

    def has(self, text: bytes, mode: int = 0o640) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(text)
        self.file.chmod(mode)
        os.chown(self.file, self.uid, self.uid)
