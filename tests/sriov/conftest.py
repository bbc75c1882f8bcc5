# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The cards of tests/lab/boot: one that is up, with VFs where a test needs them, and the switch at its wire's end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import card as machine
from tests.lab.network import Nic
from tests.lab.shell import link, run
from tests.libvirt.conftest import Eventually
from tests.support.guest_cycle import Place, guest, place

# What tests/sriov/test_table.py measures of each mode, and the property that it reports a row by.
COLUMNS = ("guest", "guest, all", "itself, all", "host", "wire", "wire, all")
TABLE = "who hears a guest on a VF"
TIMES = ("no", "yes", "twice")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table; what differs from what is expected stands beside it."""
    reports = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    rows = [row for report in reports if report.when == "call" for name, row in report.user_properties if name == TABLE]
    if not rows:
        return
    terminalreporter.section(f"{TABLE}: frames to one or to all")
    terminalreporter.line(_columns("mode", "switch", *COLUMNS))
    for mode, reflecting, found, expected in rows:
        verdict = "" if found == expected else f"  <-- differs from {', '.join(_times(expected))}"
        switch = "reflects" if reflecting else "does not reflect"
        terminalreporter.line(_columns(mode, switch, *_times(found)) + verdict)
    right = all(found == expected for _, _, found, expected in rows)
    terminalreporter.line("Every cell is as expected." if right else "The table is NOT as expected.")


def _times(row: tuple[int, ...]) -> list[str]:
    return [TIMES[count] if count < len(TIMES) else str(count) for count in row]


def _columns(mode: str, switch: str, *cells: str) -> str:
    return f"{mode:8}{switch:18}" + "".join(f"{cell:13}" for cell in cells)


def vf_netdev(card: str, number: int) -> str:
    """Return the name of a VF's netdev, by the card's own list of VFs."""
    (only,) = Path(f"/sys/class/net/{card}/device/virtfn{number}/net").iterdir()
    return only.name


def carries(*devices: str) -> Eventually:
    """Wait until all have a carrier."""
    return Eventually(
        f"{' and '.join(devices)} have a carrier",
        lambda: all("LOWER_UP" in (link(device) or {"flags": ()})["flags"] for device in devices),
    )


def make_vfs(card: str, count: int) -> None:
    """Set how many VFs a card that is up has, and return when it has its carrier again, which igb lets go.

    A VF that is put up before that has none for ten seconds.
    """
    with carries(card):
        Path(f"/sys/class/net/{card}/device/sriov_numvfs").write_text(f"{count}\n", encoding="ascii")


def put_up(*devices: str) -> None:
    """Put devices up, and return when they have a carrier."""
    with carries(*devices):
        for device in devices:
            run("ip", "link", "set", device, "up")


def back(card: Nic) -> None:
    """Have a card as it was before the tests: without VFs, down, its switch not reflecting."""
    Path(f"/sys/class/net/{card.device}/device/sriov_numvfs").write_text("0\n", encoding="ascii")
    card.reflect(False)
    run("ip", "link", "set", card.device, "down")


@contextmanager
def with_vfs(name: str, count: int) -> Iterator[Nic]:
    """Give a card that is up, with VFs; it is as before afterwards."""
    found = machine.wire(name)
    put_up(found.device)
    make_vfs(found.device, count)
    yield found
    back(found)


@pytest.fixture(scope="session")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The second card as the definition `lan`, with all its VFs, which its first guest had made: it was down before.

    It takes long to make them, so the tests of guests on VFs share it: tests/sriov/test_vf*.py.
    """
    found = machine.wire("card1")
    with place(found, tmp_path_factory.mktemp("lan")) as made:
        made.define("<vf count='7'/>")
        assert "UP" not in link("card1")["flags"] and not made.functions()
        made.begin(guest(1))
        assert "UP" in link("card1")["flags"] and len(made.functions()) == 7
        assert not made.end(guest(1))
        yield made
    back(found)


@pytest.fixture
def card() -> Iterator[Nic]:
    """The first card, up, without VFs; so it is again after the test."""
    found = machine.wire("card0")
    put_up(found.device)
    yield found
    back(found)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Nic, str, str]]:
    """The second card and two VFs of it, all up, for all tests of a module."""
    with with_vfs("card1", 2) as found:
        first, second = (vf_netdev(found.device, number) for number in (0, 1))
        put_up(first, second)
        yield found, first, second
