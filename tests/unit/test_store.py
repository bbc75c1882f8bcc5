# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The state on disk: whole or not at all, exclusive, and never trusted."""

from __future__ import annotations

import json
import multiprocessing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from libvirt_vepa.errors import HostError, NewerStateError, StateError
from libvirt_vepa.lifecycle import executor
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.operations.device import AcquireLease, SetLinkUp
from libvirt_vepa.store.journal import Allocation, Journal
from libvirt_vepa.store.store import Lease, Store

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
MAC = "52:54:00:aa:bb:cc"
PROCESS = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def journal(uuid: str = UUID, *nics: str) -> Journal:
    uses = tuple(Allocation(f"ua-{nic}", "lan", f"vp-{nic}", nic, NicKey(nic), "vepa") for nic in nics or ("eth0",))
    operations = (AcquireLease("mac", MAC, uuid, "web"), SetLinkUp("eth0"))
    return Journal(uuid, "web ü\n", uses, tuple(operation.to_record() for operation in operations))


def journal_file(folder: Path) -> Path:
    return folder / "guests" / f"{UUID}.json"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- journals


def test_a_journal_comes_back_as_it_was_written(store: Store) -> None:
    written = store.save(journal())
    assert store.load(UUID) == written
    assert written.written > 0
    assert executor.operations_of(written) == (AcquireLease("mac", MAC, UUID, "web"), SetLinkUp("eth0"))


def test_there_is_nothing_before_the_first_journal(store: Store) -> None:
    assert store.load(UUID) is None
    assert store.guests() == ()
    assert store.leases() == ()


def test_two_journals_of_one_guest_can_be_told_apart(store: Store) -> None:
    assert store.save(journal()) != store.save(journal())


def test_a_journal_replaces_the_one_before(store: Store, tmp_path: Path) -> None:
    store.save(journal(UUID, "eth0", "eth1"))
    last = store.save(journal(UUID, "eth2"))
    assert store.load(UUID) == last
    assert files(tmp_path) == [f"guests/{UUID}.json"]


def test_a_forgotten_journal_leaves_no_file(store: Store, tmp_path: Path) -> None:
    store.save(journal())
    store.forget(UUID)
    store.forget(UUID)
    assert store.load(UUID) is None
    assert files(tmp_path) == []


def test_a_journals_nics_are_unique_and_in_lock_order() -> None:
    assert journal(UUID, "eth1", "eth0", "eth1").nics == ("eth0", "eth1")


def test_a_journal_cut_short_anywhere_is_damage_and_says_so(store: Store, tmp_path: Path) -> None:
    store.save(journal())
    path = journal_file(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StateError, match="is damaged; stop the guest, then run 'libvirt-vepa reconcile'") as caught:
            store.load(UUID)
        assert not isinstance(caught.value, NewerStateError), length


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe",
        b"[]",
        b"null",
        b"7",
        b"{}",
        b'{"version": "1"}',
        b'{"version": null}',
        b'{"version": 1, "uuid": "x", "guest": "g", "uses": [1], "operations": [], "written": 1}',
        b'{"version": 1, "uuid": "x", "guest": "g", "uses": [{"alias": "a"}], "operations": [], "written": 1}',
        b'{"version": 1, "uuid": "x", "guest": "g", "uses": 5, "operations": [], "written": 1}',
        pytest.param(b"[" * 100_000, id="too deep"),
    ],
)
def test_a_journal_that_is_something_else_is_damage(store: Store, tmp_path: Path, text: bytes) -> None:
    store.save(journal())
    journal_file(tmp_path).write_bytes(text)
    with pytest.raises(StateError, match="is damaged"):
        store.load(UUID)


@pytest.mark.parametrize(
    "operations", [5, "SetLinkUp", [1], ["SetLinkUp"], [None], [{"operation": ["SetLinkUp"], "device": "x"}]]
)
def test_a_journal_whose_operations_are_no_records_is_damage(store: Store, tmp_path: Path, operations: object) -> None:
    store.save(journal())
    path = journal_file(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "operations": operations}))
    with pytest.raises(StateError):
        damaged = store.load(UUID)
        assert damaged
        executor.operations_of(damaged)


def test_a_newer_journal_is_refused_and_kept(store: Store, tmp_path: Path) -> None:
    store.save(journal())
    path = journal_file(tmp_path)
    path.write_text('{"version": 2, "whatever": true}')
    with pytest.raises(NewerStateError, match=r"version 2, known is 1\); install that one again"):
        store.load(UUID)
    assert path.exists()


def test_an_unfinished_journal_counts_as_a_guest(store: Store, tmp_path: Path) -> None:
    store.save(journal())
    journal_file(tmp_path).rename(tmp_path / "guests" / f"{UUID}.json.new")
    assert store.guests() == (UUID,)
    assert store.load(UUID) is None
    store.forget(UUID)
    assert files(tmp_path) == []


def test_foreign_files_among_the_journals_are_no_guests(store: Store, tmp_path: Path) -> None:
    store.save(journal())
    for name in ("README", "x.json", f"{UUID.upper()}.json", "..json"):
        (tmp_path / "guests" / name).write_text("{}")
    assert store.guests() == (UUID,)


@pytest.mark.parametrize(
    "uuid", ["", "../../etc/passwd", "x", UUID.upper().replace("1", "A"), f"{UUID}\n", f"{UUID}/x", "a" * 36]
)
def test_a_hostile_uuid_never_becomes_a_file_name(store: Store, tmp_path: Path, uuid: str) -> None:
    for call in (
        store.load,
        store.forget,
        lambda uuid: store.lock_guest(uuid, "test"),
        lambda uuid: store.save(journal(uuid)),
    ):
        with pytest.raises(HostError, match="is not the UUID of a guest"):
            call(uuid)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file")
    with pytest.raises(StateError, match=r"cannot write .*; see that /run is writable and not full"):
        store.save(journal())
    with pytest.raises(StateError):
        store.acquire(Lease("mac", MAC, UUID, "web"))


# -- leases


def test_a_lease_is_whole_and_names_its_holder(store: Store, tmp_path: Path) -> None:
    lease = Lease("mac", MAC, UUID, "web")
    assert store.acquire(lease) == lease
    assert store.holder("mac", MAC) == lease
    assert store.leases() == (lease,)
    assert files(tmp_path) == [f"leases/mac-{MAC}"]


def test_a_second_guest_is_told_who_holds_it(store: Store) -> None:
    first = store.acquire(Lease("mac", MAC, UUID, "web"))
    assert store.acquire(Lease("mac", MAC, OTHER, "db")) == first
    assert store.holder("mac", MAC) == first


def test_the_same_guest_may_take_it_again(store: Store) -> None:
    lease = Lease("device", "vp-a-b", UUID, "web")
    store.acquire(lease)
    assert store.acquire(lease) == lease


def test_a_mac_and_a_device_of_the_same_text_are_two_things(store: Store) -> None:
    assert store.acquire(Lease("mac", "x", UUID, "web")).uuid == UUID
    assert store.acquire(Lease("device", "x", OTHER, "db")).uuid == OTHER


def test_a_dropped_lease_is_free(store: Store, tmp_path: Path) -> None:
    lease = Lease("mac", MAC, UUID, "web")
    store.acquire(lease)
    store.release(lease)
    store.release(lease)
    assert store.holder("mac", MAC) is None
    assert files(tmp_path) == []


def test_only_the_holder_can_drop_a_lease(store: Store) -> None:
    lease = store.acquire(Lease("mac", MAC, UUID, "web"))
    store.release(Lease("mac", MAC, OTHER, "db"))
    assert store.holder("mac", MAC) == lease


def test_what_a_killed_acquire_left_goes_with_the_release(store: Store, tmp_path: Path) -> None:
    lease = Lease("mac", MAC, UUID, "web")
    store.acquire(lease)
    (tmp_path / "leases" / f"mac-{MAC}").rename(tmp_path / "leases" / f"mac-{MAC}.new-{UUID}")
    assert store.leases() == ()
    store.release(lease)
    assert files(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": "mac"}', '{"kind": "mac", "x": 1}'])
def test_a_damaged_lease_says_so(store: Store, tmp_path: Path, text: str) -> None:
    store.acquire(Lease("mac", MAC, UUID, "web"))
    (tmp_path / "leases" / f"mac-{MAC}").write_text(text)
    with pytest.raises(StateError, match="is damaged"):
        store.holder("mac", MAC)


def race(root: Path, barrier: Barrier, results: Queue[tuple[int, str]], uuid: str) -> None:
    """Take lease after lease at the same moment as the other process; report which were won."""
    store = Store(root)
    for number in range(100):
        barrier.wait(timeout=60)
        results.put((number, store.acquire(Lease("mac", str(number), uuid, uuid)).uuid))


def test_two_processes_never_hold_the_same_lease(tmp_path: Path) -> None:
    barrier, results = PROCESS.Barrier(2), PROCESS.Queue()
    racers = [PROCESS.Process(target=race, args=(tmp_path, barrier, results, uuid)) for uuid in (UUID, OTHER)]
    for racer in racers:
        racer.start()
    told = [results.get(timeout=60) for _ in range(200)]
    for racer in racers:
        racer.join(timeout=60)
    holders = {lease.key: lease.uuid for lease in Store(tmp_path).leases()}
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert all(holders[str(number)] == uuid for number, uuid in told)
    assert len(files(tmp_path)) == 100
