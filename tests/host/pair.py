# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run on a booted machine, in a copy of the checkout: two small guests on `lan` in mode vepa, lab1 and lab2.

python3 -m tests.host.pair up               define and start both, and wait until they are up
python3 -m tests.host.pair reaches WHERE    print whether lab1 gets an answer from lab2, or from an address
"""

from __future__ import annotations

import sys

from tests.lab.guest import ONCE, Guest, define

# It is an emulation in an emulation.
ONE, TWO = (Guest(number, kernel=True, counted=True, bound=1800.0) for number in (1, 2))


def up() -> None:
    """Start both guests."""
    for guest in (ONE, TWO):
        guest.ask("vepa")
        define(guest)
        guest.start()
    for guest in (ONE, TWO):
        guest.wait()


def reaches(where: str) -> bool:
    """Tell whether the first guest gets an answer, once; it may have looked for its neighbour in vain before."""
    ONE.run("ip neigh flush all")
    return ONE.reaches(TWO.address if where == TWO.name else where, ONCE)


if __name__ == "__main__":
    if sys.argv[1] == "up":
        up()
    else:
        print(reaches(sys.argv[2]))
