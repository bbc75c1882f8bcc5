# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the module `embedded` lends a card, as the system's own tools see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.shell import run

PARAMETERS = Path("/sys/module/embedded/parameters")
OFFLOAD = "l2-fwd-offload"


def hwmode(device: str) -> str | None:
    described = json.loads(run("bridge", "-j", "-d", "link", "show", "dev", device).stdout or "[{}]")
    return described[0].get("hwmode") if described else None


def set_hwmode(device: str, mode: str) -> str:
    """Set the mode and return what was said against it."""
    return run("bridge", "link", "set", "dev", device, "hwmode", mode, check=False).stderr


@contextmanager
def parameter(name: str, value: str) -> Iterator[None]:
    before = (PARAMETERS / name).read_text(encoding="ascii")
    (PARAMETERS / name).write_text(value, encoding="ascii")
    try:
        yield
    finally:
        (PARAMETERS / name).write_text(before, encoding="ascii")


def stations() -> int:
    return int((PARAMETERS / "stations").read_text(encoding="ascii"))


def unicast_list(device: str) -> set[str]:
    return {entry["mac"] for entry in json.loads(run("bridge", "-j", "fdb", "show", "dev", device).stdout)}


def features(device: str) -> dict[str, str]:
    lines = run("ethtool", "-k", device).stdout.splitlines()[1:]
    return dict(line.strip().split(": ", 1) for line in lines)
