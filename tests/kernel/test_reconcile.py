# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What guests left behind that are gone: with a journal, with a damaged one, with none."""

from __future__ import annotations

import json
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from libvirt_vepa.errors import VepaError
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.lifecycle import reconcile
from libvirt_vepa.lifecycle.reconcile import Leftover
from tests.lab.shell import run
from tests.support.host_fixture import PROCESS, SECONDS, World, ask, device, guest, links, mac, uuid
from tests.support.running_guests import these

ONE = "guest 'web1' (6f6e6f6f-0000-4000-8000-000000000001)"


def nobody(_uuid: str) -> None:
    """Know of no guest."""


def looked_for(world: World, alive: dict[str, bytes]) -> tuple[Leftover, ...]:
    return reconcile.find(world.host, lambda: alive, alive.get)


def find(world: World, *running: int) -> tuple[Leftover, ...]:
    return looked_for(world, these(*map(guest, running)))


def put_back(world: World, *running: int) -> list[VepaError]:
    return [error for leftover in find(world, *running) for error in reconcile.put_back(leftover, world.host, nobody)]


def told(world: World) -> list[str]:
    return [text for leftover in find(world) for text in leftover.describe()]


def rewrite(world: World, change: Callable[[str], str], number: int = 1) -> None:
    path = world.root / "guests" / f"{uuid(number)}.json"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def test_nothing_is_left_and_nobody_is_asked(world: World) -> None:
    assert reconcile.find(world.host, lambda: pytest.fail("the daemon was asked"), nobody) == ()


def test_only_guests_that_are_gone_are_put_back(world: World) -> None:
    for number in (1, 2):
        world.begin(guest(number))
    assert [leftover.uuid for leftover in find(world, 2)] == [uuid(1)]
    assert put_back(world, 2) == []
    assert device(1) not in links() and device(2) in links()
    assert put_back(world, 2) == []
    world.end(guest(2))
    assert not world.files()


def test_it_tells_what_it_would_undo_one_line_a_step(world: World) -> None:
    world.begin(guest(1))
    before = links(), world.files()
    steps = [step.describe() for step in reversed(find(world)[0].steps)]
    assert told(world) == [f"{ONE}: undo: {step}" for step in steps]
    assert (
        f"{ONE}: undo: create macvtap {device(1)} on eth1: mode vepa, MAC {mac(1)}" in told(world)
        and (links(), world.files()) == before
    )


def test_a_guest_that_has_started_meanwhile_is_left_alone(world: World) -> None:
    world.begin(guest(1))
    (leftover,) = find(world)
    world.begin(guest(1))
    before = links(), world.files()
    assert reconcile.put_back(leftover, world.host, nobody) == ()
    assert (links(), world.files()) == before


def test_the_daemon_is_asked_before_any_lock_is_taken(world: World) -> None:
    """A hook may hold the guest while libvirt waits for it."""
    world.begin(guest(1))

    def asked() -> tuple[str, ...]:
        child = PROCESS.Process(target=lock, args=(world,))
        child.start()
        child.join(SECONDS)
        assert child.exitcode == 0
        return ()

    assert len(reconcile.find(world.host, asked, nobody)) == 1


def test_leases_are_read_once_for_all_who_lost_journals(world: World, tmp_path: Path) -> None:
    numbers = range(1, 6)
    for number in numbers:
        world.begin(guest(number))
        (world.root / "guests" / f"{uuid(number)}.json").unlink()
    trace = tmp_path / "trace"
    code, said = world.command("find", 0, "strace", "-f", "-qq", "-o", str(trace), "-e", "trace=openat")
    assert (code, said.split()) == (0, [uuid(number) for number in numbers])
    assert trace.read_text(encoding="utf-8").count(f'"{world.root}/leases/') == 2 * len(numbers)


def lock(world: World) -> None:
    with world.host.store.lock_guest(uuid(1), "the start of guest 'web1'"):
        pass


@pytest.mark.parametrize("length", [0, 1, 40, 400, -3])
def test_a_journal_that_was_cut_short_is_told_by_the_leases(world: World, bridge: str, length: int) -> None:
    run("ip", "link", "set", "eth1", "nomaster")
    before = links()
    world.begin(guest(1))
    rewrite(world, lambda text: text[:length])
    assert told(world) == [
        f"{ONE}: undo: create macvtap {device(1)} on eth1: mode vepa, MAC {mac(1)}",
        f"{ONE}: undo: reserve mac {mac(1)} for guest 'web1'",
        f"{ONE}: undo: reserve device {device(1)} for guest 'web1'",
        f"{ONE}: remove a damaged journal",
    ]
    assert put_back(world) == []
    assert links().keys() == before.keys() and not world.files()


def test_a_tap_of_a_damaged_journal_goes_too(world: World, bridge: str) -> None:
    world.begin(guest(1, ask(1, kind="tap")))
    rewrite(world, lambda _: "")
    assert f"{ONE}: undo: create tap {device(1)}: MAC fe:54:00:00:01:01, MTU 1500" in told(world)
    assert put_back(world) == []
    assert device(1) not in links() and not world.files()


@pytest.mark.parametrize(
    "foreign",
    [
        f"link add link eth1 name {device(1)} address 52:54:00:ff:00:01 type macvtap mode vepa",
        f"tuntap add {device(1)} mode tap",
        f"link add name {device(1)} address {mac(1)} type bridge",
    ],
)
def test_a_stranger_of_the_same_name_survives_a_damaged_journal(world: World, foreign: str) -> None:
    world.begin(guest(1))
    run("ip", "link", "delete", device(1))
    run("ip", *foreign.split())
    rewrite(world, lambda _: "{}")
    before = links()
    assert put_back(world) == []
    assert links() == before and not world.files()


def newer(text: str) -> str:
    return json.dumps({**json.loads(text), "version": 2})


def unknown(text: str) -> str:
    record = json.loads(text)
    return json.dumps({**record, "operations": [*record["operations"], {"operation": "LeaseVf", "pf": "eth0"}]})


@pytest.mark.parametrize(("change", "says"), [(newer, "(version 2, known is 1)"), (unknown, "'LeaseVf'")])
def test_a_newer_journal_is_kept_and_the_others_are_put_back(
    world: World, change: Callable[[str], str], says: str
) -> None:
    for number in (1, 2):
        world.begin(guest(number))
    rewrite(world, change)
    before = world.files()
    assert told(world)[0].endswith(": keep the journal of a newer libvirt-vepa")
    (error,) = put_back(world)
    assert str(error).isprintable() and says in str(error) and uuid(1) in str(error)
    assert device(1) in links() and device(2) not in links()
    assert {name: data for name, data in before.items() if uuid(2).encode() not in data} == world.files()


def test_the_beginning_of_a_journal_is_removed(world: World) -> None:
    world.begin(guest(1))
    world.end(guest(1))
    (world.root / "guests" / f"{uuid(1)}.json.new").write_text("{")
    assert told(world) == [f"guest 'unknown' ({uuid(1)}): remove what is left of a journal"]
    assert put_back(world) == [] and not world.files()


def test_a_guest_whose_journal_was_removed_is_put_back(world: World) -> None:
    world.begin(guest(1))
    (world.root / "guests" / f"{uuid(1)}.json").unlink()
    assert put_back(world) == []
    assert device(1) not in links() and not world.files()


def test_a_lease_of_an_earlier_version_tells_of_itself(world: World) -> None:
    world.begin(guest(1))
    (world.root / "guests" / f"{uuid(1)}.json").unlink()
    for path in (world.root / "leases").iterdir():
        values = json.loads(path.read_text())
        assert [record["operation"] for record in values.pop("records")] == ["AcquireLease", "CreateMacvtap"]
        path.write_text(json.dumps(values))
    assert put_back(world) == [] and not world.files()
    run("ip", "link", "delete", device(1))


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "mac", "key": "x", "uuid": "../x", "guest": "y"}'])
def test_a_lease_that_tells_of_nobody_does_not_keep_the_others(world: World, text: str) -> None:
    for number in (1, 2):
        world.begin(guest(number))
    path = world.root / "leases" / f"mac-{mac(1)}"
    path.write_text(text)
    errors = [str(error) for error in put_back(world)]
    assert device(1) not in links() and device(2) not in links()
    assert all(f"{path} is damaged; " in error and error.startswith(ONE) for error in errors)
    assert len(errors) <= 1


def test_reconcile_goes_on_past_a_locked_guest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libvirt_vepa.store.store.LOCK_SECONDS", 0.2)
    for number in (1, 2):
        world.begin(guest(number))
    leftovers = find(world)
    mine, its = PROCESS.Pipe()
    child = PROCESS.Process(target=hold, args=(world, its))
    child.start()
    assert mine.poll(SECONDS)
    errors = [str(error) for leftover in leftovers for error in reconcile.put_back(leftover, world.host, nobody)]
    mine.send("done")
    child.join(SECONDS)
    assert errors == [
        f"{ONE}: guest-{uuid(1)} has been locked for 0.2 seconds by the start of guest 'web1' (process {child.pid}); "
        "try again when that has ended"
    ]
    assert device(1) in links() and device(2) not in links()


def hold(world: World, pipe: Connection) -> None:
    with world.host.store.lock_guest(uuid(1), "the start of guest 'web1'"):
        pipe.send("held")
        pipe.poll(SECONDS)


def test_a_lost_interface_of_a_running_guest_is_put_back(world: World) -> None:
    one = guest(1, ask(1, 1), ask(1, 2))
    world.begin(one)
    now = these(guest(1, ask(1, 1)))
    (leftover,) = looked_for(world, now)
    assert {*leftover.describe()} >= {f"guest 'web1' ({uuid(1)}): undo: reserve mac {mac(1, 2)} for guest 'web1'"}
    assert device(1, 1) not in " ".join(leftover.describe())
    # It has been given it again, or has ended, meanwhile.
    assert reconcile.put_back(leftover, world.host, these(one).get) == ()
    assert reconcile.put_back(leftover, world.host, nobody) == ()
    assert device(1, 2) in links()
    assert reconcile.put_back(leftover, world.host, now.get) == ()
    assert device(1, 2) not in links() and device(1, 1) in links()
    assert looked_for(world, now) == ()
    guests.check(guest(1, ask(1, 1)), world.host)


def test_a_guest_that_cannot_be_looked_at_keeps_no_other_from_its_turn(world: World) -> None:
    for number in (1, 2, 3):
        world.begin(guest(number, ask(number, 1), ask(number, 2)))
    alive = {**these(guest(2, ask(2, 1))), uuid(1): b"<domain><devices/>"}
    unread, *others = sorted(looked_for(world, alive), key=lambda leftover: leftover.uuid)
    assert [*unread.describe()] == [f"{ONE}: keep all, for it runs and its XML cannot be read"]
    assert [other.uuid for other in others] == [uuid(2), uuid(3)]
    (error,) = reconcile.put_back(unread, world.host, alive.get)
    assert str(error).startswith(f"{ONE}: the guest's metadata, line 1: not well-formed XML: ")
    assert [reconcile.put_back(other, world.host, alive.get) for other in others] == [(), ()]
    # Nothing of the one that nobody could look at is touched.
    assert {device(1, 1), device(1, 2), device(2, 1)} <= {*links()}
    assert not {device(2, 2), device(3, 1), device(3, 2)} & {*links()}


def test_foreign_metadata_that_is_no_xml_hides_nothing(world: World) -> None:
    """libvirt writes `<e:z:b/>`, and far more than a document of people's may hold."""
    one = guest(1, ask(1, 1), ask(1, 2))
    world.begin(one)
    foreign = b"<domain><metadata><e:a xmlns:e='urn:evil'><e:z:b/>" + b"<m:x/>" * 700_000 + b"</e:a></metadata>"
    alive = {key: xml.replace(b"<domain>", foreign) for key, xml in these(guest(1, ask(1, 1))).items()}
    (leftover,) = looked_for(world, alive)
    assert reconcile.put_back(leftover, world.host, alive.get) == ()
    assert device(1, 2) not in links() and device(1, 1) in links()
