# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make bench`: what the hook and the connection cost, in one run, beside what they are compared with.

Runs inside the lab: `tests/lab/enter /usr/bin/python3 -m tests.lab.bench [--runs N] [PART…]`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.lab.bench import connection, guests, hook
from tests.lab.bench.crowd import crowd
from tests.lab.bench.table import Table
from tests.lab.daemon import daemon
from tests.lab.hook import define_nic, install
from tests.lab.network import Nic, nic

RUNS = 30
Part = Callable[[Table, Nic], None]


def _of(part: Callable[[Table], None]) -> Part:
    return lambda table, _wire: part(table)


PARTS: dict[str, Part] = {
    "foreign": _of(hook.foreign),
    "prepare": _of(hook.prepare),
    "prepare-alone": _of(hook.prepare_alone),
    "start": _of(guests.start),
    "start-alone": _of(guests.start_alone),
    "together": _of(guests.together),
    "crowd": crowd,
    "open": _of(connection.opening),
    "calls": _of(connection.calls),
    "documents": _of(connection.documents),
    "volumes": _of(connection.volumes),
}


def main() -> int:
    """Measure and print; the exit status says only that it ran."""
    parser = argparse.ArgumentParser(prog="tests.lab.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="pairs of a measurement at most (%(default)s)")
    parser.add_argument("part", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all where none is named")
    said = parser.parse_args()
    if unknown := [name for name in said.part if name not in PARTS]:
        parser.error(f"no part is called {unknown[0]!r}")
    if said.runs < 1:
        parser.error("one pair is the least")
    install()
    with nic("eth1") as wire, daemon():
        define_nic("lan", "eth1")
        table = Table(said.runs)
        for name in said.part or PARTS:
            PARTS[name](table, wire)
    print(f"goals missed: {table.missed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
