# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many connections each user may have at once, so that nobody can take those of the others."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from libvirt_vepa.errors import HostError

ROOT = 0
# As many refused connections of one user are answered at once; each takes a process. The others are only closed.
ANSWERS = 4
# After that time a user who is refused is named in the log again.
AGAIN_SECONDS = 3600.0


@dataclass(frozen=True)
class Bounds:
    """What the connections to a service may take at once."""

    # Connections of one user, and of all users together; root has its own `each` beside that.
    each: int
    total: int
    # Bytes of address space for the process of one connection, beyond what the service itself has.
    memory: int
    # A service whose socket systemd holds ends when nobody has used it for so long.
    idle_seconds: float = 600.0


class Admission:
    """The processes that serve connections now, and the user that each is for."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._served: dict[int, int] = {}
        self._answered: dict[int, int] = {}
        self._each: Counter[int] = Counter()
        self._named: dict[int, float] = {}

    @property
    def busy(self) -> bool:
        """Whether there is any process."""
        return bool(self._served or self._answered)

    def refusal(self, uid: int) -> HostError | None:
        """Return why a user gets no more connections, None where they get one."""
        if self._each[uid] >= self._bounds.each:
            return HostError(f"user {uid} has {self._each[uid]} connections, and gets no more", "close some of them")
        others = len(self._served) - self._each[ROOT]
        if uid != ROOT and others >= self._bounds.total:
            return HostError(f"all users together have {others} connections, and get no more", "close some of them")
        return None

    def may_answer(self, uid: int) -> bool:
        """Tell whether a user who is refused is told so."""
        return list(self._answered.values()).count(uid) < ANSWERS

    def is_news(self, uid: int) -> bool:
        """Tell whether the log is to name a user who is refused: a flood of attempts is one line."""
        now = time.monotonic()
        if now - self._named.get(uid, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return False
        self._named[uid] = now
        return True

    def add(self, pid: int, uid: int) -> None:
        """Count a process that serves a user."""
        self._served[pid] = uid
        self._each[uid] += 1

    def add_answer(self, pid: int, uid: int) -> None:
        """Count a process that tells a user why they are refused."""
        self._answered[pid] = uid

    def remove(self, pid: int) -> None:
        """Count a process no more: it has ended."""
        self._answered.pop(pid, None)
        uid = self._served.pop(pid, None)
        if uid is not None:
            self._each[uid] -= 1
