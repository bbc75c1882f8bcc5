# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What unit tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

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
