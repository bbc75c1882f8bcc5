# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What fails in the middle is undone, all of it and only it; what cannot be undone is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from libvirt_vepa.errors import InUseError, KernelError
from libvirt_vepa.host.context import Host
from libvirt_vepa.lifecycle import executor
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.model.interface import Guest
from libvirt_vepa.operations.base import Operation
from libvirt_vepa.operations.device import AcquireLease, CreateMacvtap
from libvirt_vepa.planning.planner import Plan
from libvirt_vepa.store.journal import Journal
from tests.lab.network import Nic
from tests.lab.shell import run
from tests.support.host_fixture import World, ask, device, guest, line, links, mac, uuid

HERE = f"interface {mac(1)}"
WITHOUT_ADMIN = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")


def planned(world: World, one: Guest) -> Plan:
    return guests.dry_run(one, world.host, world.directory)


def foreign(name: str, address: str, *up: str) -> None:
    run(*f"ip link add link eth1 name {name} address {address} type macvtap mode vepa".split())
    for state in up:
        run("ip", "link", "set", name, state)


def test_a_look_changes_nothing_and_tells_what_a_start_does(world: World) -> None:
    before = links()
    plan = planned(world, guest(1))
    assert links() == before and not world.files()
    world.begin(guest(1))
    assert executor.operations_of(world.journal(guest(1))) == plan.operations
    assert planned(world, guest(1)) == plan


def test_a_nic_that_vanishes_between_plan_and_apply(world: World) -> None:
    plan = planned(world, guest(1))
    run("ip", "link", "delete", "eth1")
    with pytest.raises(KernelError) as caught:
        executor.execute(guest(1), plan, world.host)
    assert str(caught.value) == (
        f"{HERE}: cannot use eth1: No such device; the device has gone; see that nothing else manages it, "
        "then try again"
    )
    assert not world.files()


def test_a_mac_of_anothers_macvtap_undoes_everything_else(world: World) -> None:
    foreign("other", mac(1, 2), "up")
    run("ip", "link", "set", "eth1", "up")
    before = links()
    one = guest(1, ask(1, 1), ask(1, 2))
    with pytest.raises(KernelError) as caught:
        world.begin(one)
    assert line(str(caught.value), one) == (
        f"interface {mac(1, 2)}: cannot put {device(1, 2)} up: "
        "Address already in use; the address is already used on that NIC; give the guest another MAC"
    )
    assert links() == before and not world.files()


def test_a_device_that_comes_between_plan_and_apply_survives(world: World) -> None:
    """Even if it looks exactly like ours, and whatever is undone later."""
    one = guest(1, ask(1, 1), ask(1, 2))
    plan = planned(world, one)
    foreign(device(1, 2), mac(1, 2))
    run("ip", "link", "set", "eth1", "up")
    before = links()
    with pytest.raises(KernelError, match="File exists; a device of that name exists"):
        executor.execute(one, plan, world.host)
    assert world.end(one) == ()
    assert links() == before and not world.files()


@dataclass(frozen=True)
class Damage(Operation):
    """A step that fails, and makes it impossible to undo the one before."""

    path: str

    def apply(self, host: Host) -> None:
        assert host.store.holder("mac", mac(1))
        Path(self.path).write_text("{", encoding="ascii")
        raise KernelError("it failed", "nothing helps")


def test_what_was_never_done_is_not_undone_later(world: World) -> None:
    lease, one = AcquireLease("mac", mac(1), uuid(1), "web1"), guest(1)
    path = world.root / "leases" / f"mac-{mac(1)}"
    steps = (lease, Damage(str(path)), CreateMacvtap(device(1), "eth1", mac(1), "vepa", None))
    with pytest.raises(KernelError, match="it failed; nothing helps"):
        executor.execute(one, Plan(steps, ()), world.host)
    assert executor.operations_of(world.journal(one)) == (lease,)
    foreign(device(1), mac(1))
    before = links()
    (failed,) = world.end(one)
    assert (
        str(failed) == f"{path} is damaged; see with 'libvirt-vepa status' that no guest has it, then remove the file"
    )
    path.unlink()
    assert world.end(one) == ()
    assert links() == before and not world.files()


@dataclass(frozen=True)
class Half(Operation):
    """A step that fails when it has done half of its work, the file `path`."""

    path: str

    def apply(self, host: Host) -> None:
        Path(self.path).write_text("half", encoding="ascii")
        raise KernelError("it failed", "nothing helps")

    def verify(self, host: Host) -> Iterator[str]:
        if not Path(self.path).exists():
            yield "it is not there"

    def undo(self, host: Host) -> None:
        Path(self.path).unlink(missing_ok=True)

    undo_failed = undo


class Stuck(Half):
    """The same, but nobody can put it back."""

    def undo(self, host: Host) -> None:
        raise KernelError("it stays", "nothing helps")

    undo_failed = undo


@pytest.mark.parametrize(("kind", "kept"), [(Half, False), (Stuck, True)])
def test_a_failed_step_is_put_back_or_remembered(world: World, tmp_path: Path, kind: type[Half], kept: bool) -> None:
    path = tmp_path / "half"
    with pytest.raises(KernelError, match="it failed; nothing helps"):
        executor.execute(guest(1), Plan((kind(str(path)),), ()), world.host)
    assert path.exists() == kept
    assert world.kept(guest(1)) == [kind.__name__] * kept


def test_a_failed_step_that_another_interface_needs_stays(world: World, tmp_path: Path) -> None:
    path = tmp_path / "half"
    plan = Plan((Half(str(path)),), ())
    before = world.host.store.save(Journal(uuid(1), "web1", (), plan.records()))
    with pytest.raises(KernelError, match="it failed; nothing helps"):
        executor.execute(guest(1), plan, world.host, before)
    assert path.exists() and world.kept(guest(1)) == ["Half"]


def test_an_undo_that_fails_keeps_only_what_failed(world: World) -> None:
    world.begin(guest(1))
    status, text = world.command("end", 1, *WITHOUT_ADMIN)
    assert (status, text) == (
        1,
        f"cannot delete {device(1)}: Operation not permitted; run as root with CAP_NET_ADMIN",
    )
    assert world.kept(guest(1)) == ["CreateMacvtap"] and device(1) in links()
    assert world.end(guest(1)) == ()
    assert device(1) not in links() and not world.files()


def test_a_start_does_not_forget_what_could_not_be_cleaned_away(world: World, dmz: Nic) -> None:
    world.begin(guest(1))
    # It would not be in the way of the new one.
    world.define("lan", "eth2")
    status, text = world.command("begin", 1, *WITHOUT_ADMIN)
    assert (status, text) == (
        1,
        f"guest 'web1': cannot delete {device(1)}: Operation not permitted; run as root with CAP_NET_ADMIN",
    )
    assert world.kept(guest(1)) == ["CreateMacvtap"]
    assert world.end(guest(1)) == ()
    assert device(1) not in links() and not world.files()


def test_a_start_without_rights_is_one_line_and_leaves_nothing(world: World) -> None:
    before = links()
    status, text = world.command("begin", 1, *WITHOUT_ADMIN)
    assert (status, text) == (
        1,
        f"guest 'web1': {HERE}: cannot put eth1 up: Operation not permitted; run as root with CAP_NET_ADMIN",
    )
    assert links() == before and not world.files()


def test_a_stale_device_is_removed_at_the_next_start(world: World) -> None:
    one = guest(1, ask(1, 1), ask(1, 2))
    world.begin(one)
    old = links()[device(1, 1)]["ifindex"]
    world.begin(guest(1))
    assert links()[device(1, 1)]["ifindex"] != old
    assert device(1, 2) not in links()
    world.end(guest(1))
    assert not world.files()


def test_a_device_that_has_gone_already_is_no_failure(world: World) -> None:
    world.begin(guest(1))
    run("ip", "link", "delete", device(1))
    assert world.end(guest(1)) == () and not world.files()


def test_the_nic_may_be_renamed_while_the_guest_runs(world: World) -> None:
    world.begin(guest(1))
    run("ip", "link", "set", "eth1", "name", "lan1")
    assert world.end(guest(1)) == ()
    assert device(1) not in links() and not world.files()


def test_the_nic_may_vanish_while_the_guest_runs(world: World) -> None:
    world.begin(guest(1))
    run("ip", "link", "delete", "eth1")
    assert world.end(guest(1)) == () and not world.files()


@pytest.mark.parametrize("again", [False, True])
def test_the_definition_may_change_while_the_guest_runs(world: World, dmz: Nic, again: bool) -> None:
    world.begin(guest(1))
    world.define("lan", "eth2")
    if again:
        world.begin(guest(1))
        assert links()[device(1)]["link"] == "eth2"
    assert world.end(guest(1)) == ()
    assert device(1) not in links() and not world.files()


def test_a_foreign_device_of_that_name_survives_the_end(world: World) -> None:
    world.begin(guest(1))
    run("ip", "link", "delete", device(1))
    foreign(device(1), "52:54:00:ff:00:01")
    before = links()
    assert world.end(guest(1)) == ()
    assert links() == before and not world.files()


def test_a_lost_tap_is_made_by_a_name_that_is_free_again(world: World, bridge: str) -> None:
    one = guest(1, ask(1, kind="tap"))
    world.begin(one)
    run("ip", "link", "delete", device(1))
    run("ip", "tuntap", "add", device(1), "mode", "tap")
    with pytest.raises(InUseError, match=f"device {device(1)} exists and is not this guest's"):
        world.begin(one)
    assert device(1) in links() and not world.files()
