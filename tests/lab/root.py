# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A minimal system of a release of Debian in a folder, without an init system, in which packages are installed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.shell import run

TOP = Path(__file__).resolve().parents[2]
RELEASES = ("bookworm", "trixie")
ENVIRONMENT = (
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LC_ALL=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
)
SECONDS = 300


@dataclass(frozen=True)
class Root:
    """A system; `path` is its root folder. What is written there is gone in the end."""

    path: Path

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in there and return what it said, whatever its exit status."""
        inside = ("chroot", str(self.path), "env", "-i", *ENVIRONMENT, *command)
        return run(*inside, stdin=stdin, check=False, timeout=SECONDS)

    def done(self, *command: str, stdin: str = "") -> str:
        """Run a command that must succeed, and return what it printed on both streams."""
        ended = self.run(*command, stdin=stdin)
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
        return ended.stdout + ended.stderr

    def file(self, path: str) -> Path:
        """Return where a file of that system is."""
        return self.path / path.lstrip("/")

    def files(self, pattern: str) -> set[str]:
        """Return the files with such a name, and links, in the whole system but for what is mounted in it."""
        return set(self.done("find", "/", "-xdev", "-name", pattern).split())


def unpack(release: str, folder: Path) -> Path:
    """Unpack what `tests/lab/prepare roots` has made; return the folder."""
    run("tar", "-x", "-C", str(folder), "-f", str(TOP / "build/roots" / f"{release}.tar"), timeout=SECONDS)
    return folder


@contextmanager
def entered(lower: Path, folder: Path, size: str = "50%") -> Iterator[Root]:
    """Have a system that begins as the one in `lower`, with this much room for what is written."""
    root = folder / "root"
    with ExitStack() as stack:

        def mount(*words: str) -> None:
            run("mount", *words)
            stack.callback(run, "umount", "--lazy", words[-1])

        for name in ("written", "root"):
            (folder / name).mkdir()
        mount("-t", "tmpfs", "-o", f"size={size}", "written", str(folder / "written"))
        for name in ("upper", "work"):
            (folder / "written" / name).mkdir()
        layers = f"lowerdir={lower},upperdir={folder}/written/upper,workdir={folder}/written/work"
        mount("-t", "overlay", "-o", layers, "root", str(root))
        mount("-t", "proc", "proc", str(root / "proc"))
        mount("--bind", "/dev", str(root / "dev"))
        yield Root(root)
