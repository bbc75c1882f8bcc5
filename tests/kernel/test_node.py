# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The wait for a macvtap's character device: libvirt looks for it once, udev may make it late."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel import sysfs
from libvirt_vepa.operations.device import CreateMacvtap, WaitForTapNode
from tests.support.host_fixture import PROCESS, SECONDS, World, device, links, mac, node
from tests.support.sleeps import sleeps

DEVICE = device(1)
SHORT = 0.2


@pytest.fixture
def missing(world: World) -> Iterator[Path]:
    """The place of a macvtap's node that is not there."""
    CreateMacvtap(DEVICE, "eth1", mac(1), "vepa", None).apply(world.host)
    path = node(DEVICE)
    path.unlink()
    yield path
    # What was made by hand does not go with the device.
    path.unlink(missing_ok=True)


def number() -> int:
    """Return the device number that the kernel announced."""
    (announced,) = Path(f"/sys/class/net/{DEVICE}/macvtap").iterdir()
    major, minor = (announced / "dev").read_text().split(":")
    return os.makedev(int(major), int(minor))


def waits(pid: int) -> bool:
    """Tell whether a process has looked and found nothing: it watches a folder, and sleeps."""
    asleep = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("S")
    return asleep and any("inotify wd:" in info.read_text() for info in Path(f"/proc/{pid}/fdinfo").iterdir())


def make_late(path: Path, pid: int, *, rename: bool) -> None:
    """Make the node as soon as somebody waits for it: in its place, or beside it and then moved there."""
    beside = path.with_name(f".{path.name}")
    if rename:
        os.mknod(beside, 0o20600, number())
    deadline = time.monotonic() + SECONDS
    while not waits(pid):
        assert time.monotonic() < deadline, "nobody waits"
    if rename:
        beside.rename(path)
    else:
        os.mknod(path, 0o20600, number())


@pytest.mark.parametrize(
    ("rename", "other_before"), [(False, False), (True, False), (True, True)], ids=["made", "moved", "replaced"]
)
def test_a_late_node_is_waited_for(world: World, missing: Path, rename: bool, other_before: bool) -> None:
    if other_before:
        os.mknod(missing, 0o20600, os.makedev(1, 3))
    helper = PROCESS.Process(target=make_late, args=(missing, os.getpid()), kwargs={"rename": rename})
    helper.start()
    WaitForTapNode(DEVICE).apply(world.host)
    helper.join(SECONDS)
    assert helper.exitcode == 0
    assert list(WaitForTapNode(DEVICE).verify(world.host)) == []


def test_a_node_that_is_there_is_not_waited_for(world: World) -> None:
    CreateMacvtap(DEVICE, "eth1", mac(1), "vepa", None).apply(world.host)
    assert not sleeps(lambda: sysfs.await_node(DEVICE, SECONDS))


def test_the_wait_is_bounded_and_says_what_is_missing(missing: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(KernelError) as caught:
        sysfs.await_node(DEVICE, SHORT)
    assert SHORT <= time.monotonic() - begin < SECONDS
    assert str(caught.value) == (
        f"{missing} of {DEVICE} did not appear in 0.2 seconds; "
        "see that udev runs, or that /dev is a devtmpfs of this host"
    )


@pytest.mark.parametrize("kind", [0o20600, 0o60600, 0o100600], ids=["character", "block", "file"])
def test_a_node_of_that_name_that_is_anothers_will_not_do(missing: Path, kind: int) -> None:
    numbers = os.makedev(1, 3) if kind == 0o20600 else number()
    os.mknod(missing, kind, numbers)
    with pytest.raises(KernelError) as caught:
        sysfs.await_node(DEVICE, SHORT)
    assert (
        str(caught.value) == f"{missing} is not the node of {DEVICE}; stop what made it, or remove it ('rm {missing}')"
    )


def test_other_nodes_neither_end_nor_lengthen_the_wait(missing: Path) -> None:
    helper = PROCESS.Process(target=disturb, args=(missing.with_name(f"{missing.name}-other"), 3 * SHORT))
    begin = time.monotonic()
    helper.start()
    with pytest.raises(KernelError, match="did not appear"):
        sysfs.await_node(DEVICE, SHORT)
    assert time.monotonic() - begin < SECONDS
    helper.join(SECONDS)


def disturb(path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        os.mknod(path, 0o20600, os.makedev(1, 3))
        path.unlink()


def test_a_start_whose_node_never_comes_is_undone(world: World) -> None:
    """In a mount namespace with an empty /dev, where nobody makes nodes."""
    before = {name for name in links() if name != "eth1"}
    hidden = 'mount -t tmpfs none /dev && exec "$@"'
    status, text = world.command("begin", 1, "unshare", "--mount", "sh", "-c", hidden, "sh")
    assert status == 1
    assert text.startswith(f"guest 'web1': interface {mac(1)}: /dev/tap")
    assert f" of {DEVICE} did not appear in 0.3 seconds; see that udev runs" in text
    assert links().keys() - {"eth1"} == before and not world.files()


def test_without_the_device_the_wait_ends_with_a_line(world: World) -> None:
    with pytest.raises(KernelError, match=f"the node of {DEVICE} did not appear in 0.2 seconds; see"):
        sysfs.await_node(DEVICE, SHORT)
    assert not sysfs.node_is_right(DEVICE)
