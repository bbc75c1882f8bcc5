# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt-vepa's Debian packages: of this checkout, and an older one to upgrade from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab.shell import run

TOP = Path(__file__).resolve().parents[2]
CHANGELOG = "packaging/debian/changelog"


def build(tree: Path, into: Path) -> Path:
    """Build the package of a source tree, and return its file."""
    run(str(tree / "packaging/make-deb"), str(into), timeout=600)
    (found,) = into.glob("libvirt-vepa_*.deb")
    return found


def build_older(folder: Path) -> Path:
    """Build the package of the commit before, or of this checkout where that had none, with a lower version."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    git = ("git", "-C", str(TOP), "-c", f"safe.directory={TOP}")
    archive = subprocess.run((*git, "archive", "HEAD~1"), capture_output=True, check=False)
    if archive.returncode or b"packaging/make-deb" not in archive.stdout:
        archive = subprocess.run((*git, "archive", "HEAD"), capture_output=True, check=True)
    subprocess.run(("tar", "-x", "-C", str(tree)), input=archive.stdout, check=True)
    changelog = tree / CHANGELOG
    changelog.write_text(changelog.read_text(encoding="utf-8").replace(")", "~before)", 1), encoding="utf-8")
    return build(tree, folder / "deb")
