# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt-vepa's packages, built: of this checkout, and an older one to upgrade from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab.shell import run

TOP = Path(__file__).resolve().parents[2]
CHANGELOG = "packaging/debian/changelog"


def deb(folder: Path, tree: Path = TOP) -> Path:
    """Build the Debian package of a source tree in a folder of its own, and return its file."""
    return _built(tree / "packaging/make-deb", folder)


def rpm(folder: Path) -> Path:
    """Build the RPM, in the same way."""
    return _built(TOP / "packaging/make-rpm", folder)


def _built(script: Path, folder: Path) -> Path:
    # What it has built is all that it prints.
    (file,) = run(str(script), str(folder / "new"), timeout=600).stdout.splitlines()
    return Path(file)


def older_deb(folder: Path) -> Path:
    """Build the Debian package of the commit before, or of this checkout where that had none, with a lower version."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    git = ("git", "-C", str(TOP), "-c", f"safe.directory={TOP}")
    archive = subprocess.run((*git, "archive", "HEAD~1"), capture_output=True, check=False)
    if archive.returncode or b"packaging/make-deb" not in archive.stdout:
        archive = subprocess.run((*git, "archive", "HEAD"), capture_output=True, check=True)
    subprocess.run(("tar", "-x", "-C", str(tree)), input=archive.stdout, check=True)
    changelog = tree / CHANGELOG
    changelog.write_text(changelog.read_text(encoding="utf-8").replace(")", "~before)", 1), encoding="utf-8")
    return deb(folder, tree)
