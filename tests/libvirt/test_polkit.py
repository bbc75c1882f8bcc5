# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real users before a real polkitd: alice, who is in group libvirt, bob without any right, carol for one guest only.

libvirt's daemon asks polkit about every call (`access_drivers`), so carol reads the other guest and changes her own.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from libvirt_vepa.store.store import Store
from tests.lab.daemon import Daemon, virsh
from tests.lab.guest import Guest, define
from tests.lab.hook import state_files
from tests.lab.shell import link, run
from tests.libvirt.conftest import gone
from tests.support import polkit
from tests.support.helper_talk import (
    WANTED,
    Conversation,
    attach,
    childless,
    children,
    conversation,
    detach,
    listening,
    until,
)
from tests.support.hotplug_steps import DEVICE, INTERFACE, MAC, REQUEST, file, links, shown, stored
from tests.support.rights import MANAGE, rules
from tests.support.user import CONNECTION
from tests.support.via_proxy import PLAIN, URI, hands, relays

MINE, OTHERS = Guest(1), Guest(2)
LIBVIRTD_CONF = """\
auth_unix_ro = "polkit"
auth_unix_rw = "polkit"
access_drivers = [ "polkit" ]
"""
LISTENING = Path("/run/polkit-connect-sock")
URIS = {"ext": URI, "socket": f"qemu:///system?socket={LISTENING}"}
# What libvirt says to who may not change a guest, and to who may not even open the connection.
DENIED, CLOSED = "access denied", f"no polkit agent available to authenticate action '{MANAGE}'"
NO_CONNECTION = """\
error: failed to connect to the hypervisor
error: the daemon refuses this user; try again as root, or as a member of the group libvirt
"""
# What a conversation may go on with.
REST = ({"do": "commit"}, {"do": "rollback"}, {"do": "await_removal", "name": MAC})
SCOPES = [("--live",), ("--config",), ("--live", "--config"), ()]


@dataclass(frozen=True)
class User:
    """Somebody with an account, and what becomes them."""

    name: str
    through: tuple[str, ...]

    def virsh(self, *words: str, uri: str = URI, check: bool = True) -> subprocess.CompletedProcess[str]:
        plain = ("env", "-u", "LIBVIRT_DEFAULT_URI", "virsh", "-q", "-c", uri)
        return run(*self.through, *plain, *words, check=check)


Users = dict[str, User]


@pytest.fixture(scope="module")
def users(libvirtd: Daemon) -> Iterator[Users]:
    with polkit.polkit(rules(MINE.name)), asking_polkit(libvirtd):
        groups = {"alice": ("libvirt",), "bob": (), "carol": ()}
        yield {name: User(name, polkit.account(name, *more)) for name, more in groups.items()}
    # It would end with the bus.
    libvirtd.start()


@contextmanager
def asking_polkit(libvirtd: Daemon) -> Iterator[None]:
    libvirtd.configure(LIBVIRTD_CONF)
    libvirtd.restart()
    try:
        yield
    finally:
        libvirtd.stop()
        libvirtd.configure()


@pytest.fixture(scope="module")
def services(users: object) -> Iterator[tuple[subprocess.Popen[str], ...]]:
    """The helper, and the connection that listens."""
    with listening() as helper, listening(CONNECTION, LISTENING) as connection:
        yield helper, connection


@pytest.fixture
def owned(services: object, running: Guest) -> Guest:
    """The guest that is carol's, which runs."""
    assert running.name == MINE.name
    return running


@pytest.fixture(scope="module")
def others(users: object, plant: object) -> Iterator[Guest]:
    """A guest that runs and is not carol's."""
    OTHERS.ask("vepa")
    define(OTHERS)
    virsh("start", OTHERS.name)
    yield OTHERS
    virsh("destroy", OTHERS.name)
    virsh("undefine", OTHERS.name)


@pytest.fixture
def untouched(services: tuple[subprocess.Popen[str], ...], owned: Guest, others: Guest) -> Iterator[None]:
    """Nothing of any guest or of the host is another after a test, no process is left, and no lock is held."""
    before = state(owned, others), relays()
    yield
    for service in services:
        childless(service)
    assert (state(owned, others), relays()) == before and not hands()
    for guest in (owned, others):
        check_unlocked(guest)


def state(*guests: Guest) -> list[object]:
    return [state_files(), links(), *(stored(guest, *scope) for guest in guests for scope in ((), ("--inactive",)))]


def check_unlocked(guest: Guest) -> None:
    """Lock a guest as one who changes it does; it is refused where somebody else holds the lock for long."""
    with Store().lock_hotplug(guest.uuid, "a test"):
        pass


def test_what_each_may_is_what_polkit_says(users: Users, owned: Guest, others: Guest) -> None:
    assert CLOSED in users["bob"].virsh("list", uri=PLAIN, check=False).stderr
    for name, allowed in (("alice", (owned, others)), ("carol", (owned,))):
        user = users[name]
        assert set(user.virsh("list", "--name", uri=PLAIN).stdout.split()) == {owned.name, others.name}
        for guest in (owned, others):
            done = user.virsh("desc", guest.name, "--live", "somebody's", uri=PLAIN, check=False)
            assert (done.returncode == 0) == (guest in allowed)
            assert guest in allowed or DENIED in done.stderr
    for guest in (owned, others):
        virsh("desc", guest.name, "--live", "")


# -- through the connection


@pytest.mark.parametrize("way", URIS)
@pytest.mark.parametrize("name", ["alice", "carol"])
def test_who_may_change_a_guest_attaches_and_detaches(
    services: tuple[subprocess.Popen[str], ...], users: Users, owned: Guest, name: str, way: str
) -> None:
    words = (owned.name, file(), "--live", "--config")
    users[name].virsh("attach-device", *words, uri=URIS[way])
    assert link(DEVICE) and REQUEST in shown(owned) and REQUEST in shown(owned, "--inactive")
    with gone(DEVICE):
        users[name].virsh("detach-device", *words, uri=URIS[way])
    assert "009901" not in stored(owned) + stored(owned, "--inactive")
    childless(services[0])


@pytest.mark.parametrize("way", URIS)
@pytest.mark.parametrize("options", SCOPES)
@pytest.mark.usefixtures("untouched")
def test_anothers_guest_is_refused_in_one_line(users: Users, others: Guest, options: tuple[str, ...], way: str) -> None:
    for command in ("attach-device", "detach-device", "update-device"):
        its = INTERFACE.replace(MAC, others.mac).replace("bridge", "vepa")
        path = file(INTERFACE if command == "attach-device" else its)
        done = users["carol"].virsh(command, others.name, path, *options, uri=URIS[way], check=False)
        assert done.returncode == 1 and done.stdout.strip() == ""
        # The first line is virsh's own.
        first, said = done.stderr.strip().splitlines()
        assert first.startswith("error: Failed to ") and DENIED in said


@pytest.mark.parametrize("way", URIS)
@pytest.mark.usefixtures("untouched")
def test_who_has_no_right_gets_no_connection(users: Users, owned: Guest, way: str) -> None:
    done = users["bob"].virsh("attach-device", owned.name, file(), "--live", uri=URIS[way], check=False)
    assert done.returncode == 1 and done.stderr == NO_CONNECTION


@pytest.mark.parametrize(("name", "chosen"), [("alice", "system"), ("bob", "session"), ("carol", "system")])
def test_enable_chooses_the_daemon_that_polkit_allows(users: Users, name: str, chosen: str) -> None:
    with tempfile.TemporaryDirectory(dir="/run") as home:
        shutil.chown(home, name)
        said = run(*users[name].through, f"HOME={home}", "libvirt-vepa", "enable").stdout
    assert f"qemu+ext:///{chosen}?" in said
    assert ("polkit does not let this user use it without a password" in said) == (name == "bob")


# -- at the helper's socket


@pytest.mark.parametrize(("name", "whose"), [("bob", MINE), ("bob", OTHERS), ("carol", OTHERS)])
@pytest.mark.usefixtures("untouched")
def test_the_helper_gives_no_more_than_libvirt(users: Users, name: str, whose: Guest) -> None:
    refused = CLOSED if name == "bob" else DENIED
    for asked in (attach(whose), detach(whose)):
        said = conversation(asked, *REST, user=users[name].through)
        assert refused in said[0]["error"] and "\n" not in said[0]["error"]
        assert all(each["error"] for each in said)


@pytest.mark.parametrize(("name", "whose"), [("bob", MINE), ("carol", OTHERS)])
@pytest.mark.usefixtures("untouched")
def test_who_is_refused_keeps_nobody_waiting(users: Users, name: str, whose: Guest) -> None:
    """The conversation stays open, and holds nothing."""
    with Conversation(users[name].through) as client:
        assert client.say(detach(whose))["error"]
        check_unlocked(whose)


@pytest.mark.usefixtures("untouched")
def test_a_request_left_in_the_metadata_is_nobodys(users: Users, owned: Guest) -> None:
    """Plain virsh detaches and leaves the request, which any user had root make a device for once."""
    users["carol"].virsh("attach-device", owned.name, file(), "--live")
    with gone(DEVICE):
        stays = f"<interface type='ethernet'><mac address='{MAC}'/></interface>"
        virsh("detach-device", owned.name, file(stays), "--live")
        run("libvirt-vepa", "reconcile")
    assert MAC in stored(owned)
    for asked in (attach(owned), detach(owned)):
        assert CLOSED in conversation(asked, {"do": "commit"}, user=users["bob"].through)[0]["error"]
    assert MAC in stored(owned) and link(DEVICE) is None
    assert conversation(detach(owned), user=users["carol"].through) == [{}]


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (WANTED.replace(MAC, OTHERS.mac), f"mac {OTHERS.mac} is in use by guest '{OTHERS.name}'"),
        (WANTED.replace(DEVICE, OTHERS.device), f"device {OTHERS.device} is in use by guest '{OTHERS.name}'"),
        (WANTED.replace(DEVICE, MINE.device), "is in use"),
        (WANTED.replace(DEVICE, "eth1"), "device eth1 would have the name of the NIC of 'lan'"),
        (WANTED.replace("lan", "none"), "no physical interface 'none'"),
    ],
    ids=["mac", "device", "own device", "nic", "name"],
)
@pytest.mark.usefixtures("untouched")
def test_an_owner_takes_nothing_of_anothers(users: Users, owned: Guest, request_: str, what: str) -> None:
    (said,) = conversation(attach(owned, request_), user=users["carol"].through)
    assert what in said["error"] and said["remedy"]


@pytest.mark.usefixtures("untouched")
def test_a_proof_for_one_guest_is_none_for_another(users: Users, owned: Guest, others: Guest) -> None:
    said = conversation(detach(owned), detach(others), attach(others), user=users["carol"].through)
    assert said[0] == {} and "about one change of one guest" in said[1]["error"] and said[2]["error"]
    said = conversation(detach(others), attach(owned), {"do": "rollback"}, user=users["carol"].through)
    assert DENIED in said[0]["error"] and said[1:] == [{}, {}]


@pytest.mark.usefixtures("untouched")
def test_who_loses_the_right_midway_leaves_no_device(users: Users, owned: Guest) -> None:
    """What root made goes, whatever polkit says by then; the request that stays has nothing made of it."""
    with Conversation(users["carol"].through) as client, gone(DEVICE):
        assert client.say(attach(owned)) == {} and link(DEVICE)
        with polkit.ruled("", lambda: users["carol"].virsh("uri", check=False).returncode != 0):
            client.say({"do": "rollback"})
            assert link(DEVICE) is None
    conversation(detach(owned), {"do": "await_removal", "name": MAC}, user=users["carol"].through)


def test_an_owner_has_one_process_wait_for_one_interface(
    services: tuple[subprocess.Popen[str], ...], users: Users, owned: Guest
) -> None:
    """Nothing is detached, so each would wait for as long as a guest may take."""
    for _ in range(4):
        asked = detach(owned), {"do": "await_removal", "name": owned.mac}
        assert conversation(*asked, user=users["carol"].through) == [{}, {}]
    until("one process waits", lambda: len(children(services[0])) == 1)
    owned.hang_up()
    virsh("destroy", owned.name)
    childless(services[0])
