# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a call waits for something, told without a clock: a busy machine makes it slow, but not sleep."""

from __future__ import annotations

import resource
from collections.abc import Callable

# A page that must be read from a disk is waited for too, but not each time.
ATTEMPTS = 5


def sleeps(call: Callable[[], object]) -> bool:
    """Tell whether a call gives up the processor by itself, each time it is made (`ru_nvcsw` of getrusage(2))."""
    return all(_slept(call) for _ in range(ATTEMPTS))


def _slept(call: Callable[[], object]) -> bool:
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    call()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw > before
