# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leases that change hands while others want them, and files that are none."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from libvirt_vepa.errors import StateError
from libvirt_vepa.store.store import Lease, Store

ONE = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
PROCESS = multiprocessing.get_context("fork")


def lease(uuid: str, key: str = "x") -> Lease:
    return Lease("mac", key, uuid, uuid[:1])


def take_and_drop(root: Path, uuid: str, barrier: Barrier) -> None:
    store = Store(root)
    barrier.wait(60)
    for _ in range(1000):
        if store.acquire(lease(uuid)).uuid == uuid:
            assert store.holder("mac", "x") == lease(uuid)
            store.release(lease(uuid))


def test_who_is_told_to_have_a_lease_has_it(tmp_path: Path) -> None:
    barrier = PROCESS.Barrier(3)
    uuids = (ONE, OTHER, ONE.replace("1", "2"))
    takers = [PROCESS.Process(target=take_and_drop, args=(tmp_path, uuid, barrier)) for uuid in uuids]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(60)
    assert [taker.exitcode for taker in takers] == [0] * 3
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_unreadable_lease_ends_the_wait(tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "mac-x").symlink_to("nowhere")
    with pytest.raises(StateError, match=r"mac-x, which is there; remove it, then try again"):
        Store(tmp_path).acquire(lease(ONE))


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "mac", "key": "x", "uuid": "../x", "guest": "y"}'])
def test_what_tells_of_nobody_is_left_out_of_the_list(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    store.acquire(lease(ONE, "y"))
    (tmp_path / "leases" / "mac-x").write_text(text)
    assert store.leases() == (lease(ONE, "y"),)
