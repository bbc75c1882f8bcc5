# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Locks: bounded waits that name the holder, and nothing left behind."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from libvirt_vepa.errors import InUseError, StateError
from libvirt_vepa.store import locks

PROCESS = multiprocessing.get_context("fork")
SHORT, TURN, LONG = 0.2, 1.0, 60.0


def hold(folder: Path, names: tuple[str, ...], holder: str, pipe: Connection) -> None:
    with locks.held(folder, names, holder, LONG):
        pipe.send("held")
        pipe.poll(LONG)


@contextmanager
def another(folder: Path, *names: str, holder: str = "the start of guest 'web'") -> Iterator[ForkProcess]:
    """Another process holds these locks."""
    with beside(hold, folder, names, holder) as process:
        yield process


@contextmanager
def beside(target: Callable[..., None], *arguments: object) -> Iterator[ForkProcess]:
    """Run this in another process, with a pipe's end behind its arguments, until it says so there, and on."""
    # A pipe, because an Event waits for ever for a process that was killed.
    mine, its = PROCESS.Pipe()
    process = PROCESS.Process(target=target, args=(*arguments, its))
    process.start()
    assert mine.poll(LONG)
    try:
        yield process
    finally:
        mine.send("done")
        process.join(LONG)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_lock_is_a_file_while_it_is_held_and_gone_after(tmp_path: Path) -> None:
    with locks.held(tmp_path, ("nic-eth0",), "me", SHORT):
        assert (tmp_path / "nic-eth0").read_text() == f"{os.getpid()} me"
    assert names(tmp_path) == []


def test_the_folder_is_made_where_it_is_missing(tmp_path: Path) -> None:
    with locks.held(tmp_path / "run" / "locks", ("a", "b"), "me", SHORT):
        assert names(tmp_path / "run" / "locks") == ["a", "b"]
    assert names(tmp_path / "run" / "locks") == []


def test_a_lock_is_given_back_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locks.held(tmp_path, ("a",), "me", SHORT):
        raise ZeroDivisionError
    assert names(tmp_path) == []
    with locks.held(tmp_path, ("a",), "me", SHORT):
        pass


def test_a_wait_is_bounded_and_the_error_names_the_holder(tmp_path: Path) -> None:
    with another(tmp_path, "nic-eth0") as process:
        begin = time.monotonic()
        with pytest.raises(InUseError) as caught, locks.held(tmp_path, ("nic-eth0",), "me", SHORT):
            pytest.fail("two processes hold the same lock")
        assert SHORT <= time.monotonic() - begin < LONG
    assert str(caught.value) == (
        f"nic-eth0 has been locked for 0.2 seconds by the start of guest 'web' (process {process.pid}); "
        "try again when that has ended"
    )


def refusal(folder: Path) -> str:
    with pytest.raises(InUseError) as caught, locks.held(folder, ("a",), "me", SHORT):
        pytest.fail("two processes hold the same lock")
    return str(caught.value)


def take(path: Path, pipe: Connection) -> None:
    """Hold a lock without a word."""
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        pipe.send("held")
        pipe.poll(LONG)


@contextmanager
def silent(path: Path, target: Callable[[Path, Connection], None] = take) -> Iterator[ForkProcess]:
    with beside(target, path) as process:
        yield process


def test_the_holder_is_named_and_not_a_dead_one_before_it(tmp_path: Path) -> None:
    with another(tmp_path, "a") as process:
        process.kill()
        process.join(LONG)
    assert (tmp_path / "a").read_text() == f"{process.pid} the start of guest 'web'"
    with silent(tmp_path / "a") as holder:
        name = Path(f"/proc/{holder.pid}/comm").read_text().strip()
        assert f" by process {holder.pid}, {name}; " in refusal(tmp_path)


def leave_to_child(path: Path, pipe: Connection) -> None:
    """Take a lock, and end while a child has it still."""
    file = open(path, "ab")  # noqa: SIM115 - it is left open
    fcntl.flock(file, fcntl.LOCK_EX)
    pipe.send("held")
    if os.fork() == 0:
        pipe.poll(LONG)
        os._exit(0)


def test_a_holder_that_left_the_lock_to_a_child_is_not_named(tmp_path: Path) -> None:
    with silent(tmp_path / "a", leave_to_child) as holder:
        # Not by `join`, which waits for the child as well.
        assert holder.pid
        os.waitpid(holder.pid, 0)
        assert " by a process that /proc/locks does not name; " in refusal(tmp_path)


def test_who_waits_is_not_named(tmp_path: Path) -> None:
    with another(tmp_path, "a") as holder:
        waiting = PROCESS.Process(target=take, args=(tmp_path / "a", PROCESS.Pipe()[1]))
        waiting.start()
        try:
            assert f"(process {holder.pid})" in refusal(tmp_path)
        finally:
            waiting.kill()
            waiting.join(LONG)


def test_a_hostile_holder_is_told_of_in_one_line(tmp_path: Path) -> None:
    with (
        another(tmp_path, "a", holder="guest 'x\n\x1b[2J'"),
        pytest.raises(InUseError, match=r"by guest 'x\\n\\x1b\[2J'") as caught,
        locks.held(tmp_path, ("a",), "me", SHORT),
    ):
        pass
    assert str(caught.value).isprintable()


def test_waiting_in_vain_takes_nothing_from_the_holder(tmp_path: Path) -> None:
    with another(tmp_path, "a", "b"):
        for _ in range(2):
            with pytest.raises(InUseError), locks.held(tmp_path, ("b",), "me", SHORT):
                pass
        assert names(tmp_path) == ["a", "b"]


def test_what_was_taken_before_a_vain_wait_is_given_back(tmp_path: Path) -> None:
    with another(tmp_path, "b"):
        with pytest.raises(InUseError), locks.held(tmp_path, ("a", "b"), "me", SHORT):
            pass
        assert names(tmp_path) == ["b"]


def test_who_waits_goes_on_when_the_holder_is_killed(tmp_path: Path) -> None:
    with another(tmp_path, "a") as process:
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        with locks.held(tmp_path, ("a",), "me", LONG):
            assert (tmp_path / "a").read_text() == f"{os.getpid()} me"
    assert names(tmp_path) == []


def take_a_turn(folder: Path) -> None:
    with locks.held(folder, ("a",), "one of many", 5 * TURN):
        time.sleep(TURN)


def test_who_waits_for_many_in_turn_waits_longer(tmp_path: Path) -> None:
    """The bound is for one holder: where a host starts many guests at once, the last one gets its turn, too."""
    processes = [PROCESS.Process(target=take_a_turn, args=(tmp_path,)) for _ in range(8)]
    begin = time.monotonic()
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
    assert time.monotonic() - begin >= 8 * TURN
    assert [process.exitcode for process in processes] == [0] * 8


def test_different_locks_do_not_hinder_each_other(tmp_path: Path) -> None:
    with another(tmp_path, "nic-eth0"), locks.held(tmp_path, ("nic-eth1",), "me", SHORT):
        assert names(tmp_path) == ["nic-eth0", "nic-eth1"]


def test_the_alarm_of_the_caller_is_as_before(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGALRM)
    with locks.held(tmp_path, ("a",), "me", SHORT):
        assert signal.getsignal(signal.SIGALRM) is before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_folder_that_cannot_be_made_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(StateError, match="see that /run is writable and not full"),
        locks.held(tmp_path / "file", ("a",), "me", SHORT),
    ):
        pass


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_locks_are_closed_to_others(tmp_path: Path) -> None:
    with locks.held(tmp_path / "run" / "locks", ("a",), "me", SHORT):
        assert [mode(tmp_path / path) for path in ("run", "run/locks", "run/locks/a")] == [0o700, 0o700, 0o600]


def test_what_was_open_to_others_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "locks"
    folder.mkdir(parents=True)
    (folder / "left").touch()
    for path, before in ((folder.parent, 0o755), (folder, 0o755), (folder / "left", 0o644)):
        path.chmod(before)
    with locks.held(folder, ("a",), "me", SHORT):
        assert [mode(path) for path in (folder.parent, folder, folder / "left")] == [0o700, 0o700, 0o600]


def test_a_holders_name_that_cannot_be_written_keeps_nobody(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with locks.held(tmp_path, ("full",), "me", SHORT):
        pass
    assert names(tmp_path) == []


def test_a_sweep_removes_only_locks_that_nobody_holds(tmp_path: Path) -> None:
    (tmp_path / "guest-x").write_text("killed")
    with another(tmp_path, "nic-eth0"):
        locks.sweep(tmp_path)
        assert names(tmp_path) == ["nic-eth0"]
    locks.sweep(tmp_path)
    assert names(tmp_path) == []


def test_a_sweep_without_a_folder_is_fine(tmp_path: Path) -> None:
    locks.sweep(tmp_path / "none")


def count_up(folder: Path, times: int) -> None:
    counter = folder / "counter"
    for _ in range(times):
        with locks.held(folder / "locks", ("counter",), "counting", LONG):
            counter.write_text(str(int(counter.read_text()) + 1))


def test_processes_that_contend_for_a_lock_lose_no_update(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    processes = [PROCESS.Process(target=count_up, args=(tmp_path, 200)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "counter").read_text() == "800"
    assert names(tmp_path / "locks") == []
