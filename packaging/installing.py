# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `make install` asks the Python that it installs for, and what it takes from setup.cfg.

installing.py executable         print the path of this Python
installing.py library PREFIX     print the folder below PREFIX where this Python finds packages, if there is one
installing.py found LIBRARY      print LIBRARY if this Python finds packages there
installing.py metadata VERSION   print the package's METADATA, from which packagers' tools read the dependencies
installing.py missing LIBRARY    print in one line which libraries this Python lacks; exit status 1 where it needs one
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup.cfg"
# Only guests on VFs need it, and it is no package that pip could install.
FOR_VFS = "nftables"


def executable() -> int:
    """Print what a program's first line is to name."""
    print(sys.executable)
    return 0


def library(prefix: str) -> int:
    """Print Debian's folder for packages, or the one of all other distributions, or nothing."""
    others = sysconfig.get_path("purelib", "posix_prefix", {"base": prefix, "platbase": prefix})
    for folder in (f"{prefix}/lib/python3/dist-packages", others):
        if folder in sys.path:
            print(folder)
            break
    return 0


def found(folder: str) -> int:
    """Print the folder where Python finds packages in it."""
    if folder in sys.path:
        print(folder)
    return 0


def metadata(version: str) -> int:
    """Print the core metadata: what the packagers' tools read the dependencies from."""
    setup = _setup()
    print("Metadata-Version: 2.1")
    print(f"Name: {setup['metadata']['name']}\nVersion: {version}\nSummary: {setup['metadata']['description']}")
    print(f"Author: {setup['metadata']['author']}\nLicense: {setup['metadata']['license']}")
    print(f"Requires-Python: {setup['options']['python_requires']}")
    for name in _needed():
        print(f"Requires-Dist: {name}")
    return 0


def missing(folder: str) -> int:
    """Tell what is to be installed before libvirt-vepa can run."""
    sys.path.insert(0, folder)
    lacking = [name for name in _needed() if find_spec(module(name)) is None]
    if lacking:
        packages = " ".join(f"python3-{module(name)}" for name in lacking)
        remedy = f"install {packages}, or with pip {' '.join(lacking)}, and run it again"
        print(f"make install: {sys.executable} lacks {', '.join(lacking)}; {remedy}", file=sys.stderr)
        return 1
    if find_spec(FOR_VFS) is None:
        print(f"For NICs of type sr-iov {sys.executable} lacks {FOR_VFS}; install python3-{FOR_VFS}.")
    return 0


def module(name: str) -> str:
    """Return what a package of Python's is imported as; distributions put `python3-` before that."""
    return name.removesuffix("-python")


def _needed() -> list[str]:
    return _setup()["options"]["install_requires"].split()


def _setup() -> ConfigParser:
    setup = ConfigParser()
    with SETUP.open(encoding="utf-8") as file:
        setup.read_file(file)
    return setup


DO: dict[str, Callable[..., int]] = {
    "executable": executable,
    "library": library,
    "found": found,
    "metadata": metadata,
    "missing": missing,
}
if __name__ == "__main__":
    sys.exit(DO[sys.argv[1]](*sys.argv[2:]))
