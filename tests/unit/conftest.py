# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What unit tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from libvirt_vepa.kernel import pci
from tests.support.pci_tree import Tree

# Far more than any of them needs, on any machine.
SECONDS = 60


@pytest.fixture
def bounded() -> Iterator[None]:
    """Interrupt a test that hangs, and fail it."""

    def hangs(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        pytest.fail(f"not done in {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, hangs)
    # Again and again, as a library may try a second time what was interrupted.
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A tree in the place of /sys, with no card yet."""
    monkeypatch.setattr(pci, "ROOT", tmp_path)
    return Tree(tmp_path)
