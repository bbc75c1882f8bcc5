"""The cards of tests/lab/boot: one that is up, with VFs where a test needs them, and the switch at its wire's end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import card as machine
from tests.lab.network import Nic
from tests.lab.shell import link, run
from tests.libvirt.conftest import Eventually


def vf_netdev(card: str, number: int) -> str:
    """Return the name of a VF's netdev, by the card's own list of VFs."""
    (only,) = Path(f"/sys/class/net/{card}/device/virtfn{number}/net").iterdir()
    return only.name


def make_vfs(card: str, count: int) -> None:
    Path(f"/sys/class/net/{card}/device/sriov_numvfs").write_text(f"{count}\n", encoding="ascii")


def put_up(device: str) -> None:
    """Put a device up, and return when it has a carrier."""
    with Eventually(f"{device} has a carrier", lambda: "LOWER_UP" in (link(device) or {})["flags"]):
        run("ip", "link", "set", device, "up")


@pytest.fixture
def card() -> Iterator[Nic]:
    """The first card, up, without VFs; so it is again after the test."""
    found = machine.wire("card0")
    put_up(found.device)
    yield found
    make_vfs(found.device, 0)
    found.reflect(False)
    run("ip", "link", "set", found.device, "down")


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Nic, str, str]]:
    """The second card and two VFs of it, all up, for all tests of a module."""
    found = machine.wire("card1")
    put_up(found.device)
    make_vfs(found.device, 2)
    first, second = (vf_netdev(found.device, number) for number in (0, 1))
    for device in (first, second):
        put_up(device)
    yield found, first, second
    make_vfs(found.device, 0)
    found.reflect(False)
    run("ip", "link", "set", found.device, "down")
