# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who reaches whom: each direction by itself, asked when nobody knows anybody's address.

Whom a guest has spoken to it finds again without asking, and so it would seem to reach whom it does not: what was
asked before decides then. So everybody's neighbour cache is empty before every question.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.lab.guest import ONCE, PATIENT, Guest, host_reaches
from tests.lab.shell import BOUND_SECONDS, run

YES, NO = "yes", "no"
# The host's address is asked for with a frame to all. What mode pepa gets back of its guests' own such frames it
# gives to the guest that sent it (macvlan_handle_frame in the kernel's macvlan.c), so the host never hears the
# question; but the guest learns the address from whatever the host says first.
SPOKEN = "if spoken to"
DIRECTIONS = ("guest 1 to 2", "guest 2 to 1", "host to guest", "guest to host")
Row = tuple[str, str, str, str]
# By mode, and whether the switch reflects.
EXPECTED: dict[tuple[str, bool], Row] = {
    ("vepa", False): (NO, NO, NO, NO),
    ("vepa", True): (YES, YES, YES, YES),
    ("pepa", False): (NO, NO, NO, NO),
    ("pepa", True): (NO, NO, YES, SPOKEN),
    ("bridge", False): (YES, YES, NO, NO),
    ("bridge", True): (YES, YES, YES, YES),
}


def measure(one: Guest, two: Guest, host: str, expected: Row) -> Row:
    """Return the answer for each direction; `host` is the host's address.

    How long an answer may take depends on the machine, so one that is expected is waited for.
    """
    return (
        _answer(one, two, lambda tries: one.reaches(two.address, tries), expected[0]),
        _answer(one, two, lambda tries: two.reaches(one.address, tries), expected[1]),
        _answer(one, two, lambda tries: host_reaches(one.address, tries), expected[2]),
        _to_host(one, two, host, expected[3]),
    )


def _answer(one: Guest, two: Guest, ask: Callable[[int], bool], expected: str) -> str:
    forget(one, two)
    return YES if ask(PATIENT if expected == YES else ONCE) else NO


def _to_host(one: Guest, two: Guest, host: str, expected: str) -> str:
    if _answer(one, two, lambda tries: one.reaches(host, tries), expected) == YES:
        return YES
    forget(one, two)
    tries = PATIENT if expected == SPOKEN else ONCE
    return SPOKEN if host_reaches(one.address, tries) and one.reaches(host, tries) else NO


def forget(*guests: Guest) -> None:
    """Empty the neighbour caches of the host and the guests; return when they are, all at the same time."""
    deadline = time.monotonic() + BOUND_SECONDS
    while known := [*_flush_host(), *(line for guest in guests for line in _flush(guest))]:
        assert time.monotonic() < deadline, f"not forgotten in {BOUND_SECONDS:g} seconds: {known}"


def _flush_host() -> list[str]:
    known = run("ip", "-4", "neighbour", "show").stdout
    run("ip", "-4", "neighbour", "flush", "all")
    return _entries(known)


def _flush(guest: Guest) -> list[str]:
    known = guest.run("ip -4 neigh show dev eth0; ip -4 neigh flush dev eth0 >/dev/null 2>&1")[1]
    return _entries(known)


def _entries(known: str) -> list[str]:
    # One that failed is asked for anew.
    return [line for line in known.splitlines() if line.strip() and not line.rstrip().endswith("FAILED")]
