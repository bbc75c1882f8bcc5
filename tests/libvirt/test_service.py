# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`libvirt-vepad`: who may use libvirt but is not root attaches and detaches, and gets no more than libvirt gives."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import state_files
from tests.lab.shell import link, run
from tests.libvirt.conftest import as_user, gone
from tests.support.helper_talk import (
    ALIAS,
    SOCKET,
    WANTED,
    Conversation,
    attach,
    childless,
    conversation,
    detach,
    listening,
)
from tests.support.hotplug_steps import DEVICE, INTERFACE, MAC, REQUEST, file, shown, stored
from tests.support.via_proxy import URI, hands, through

LIBVIRTS = Path("/run/libvirt/libvirt-sock")


def virsh_of_user(*arguments: str, group: int, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run virsh through the connection as an ordinary user who is in one group."""
    words = ("env", "-u", "LIBVIRT_DEFAULT_URI", "virsh", "-q", "-c", URI)
    return run(*as_user(group), *words, *arguments, check=check)


@pytest.fixture
def service(grouped: int) -> Iterator[subprocess.Popen[str]]:
    with listening() as process:
        yield process


def test_a_user_attaches_and_detaches(service: object, grouped: int, running: Guest) -> None:
    virsh_of_user("attach-device", running.name, file(), "--live", "--config", group=grouped)
    assert link(DEVICE) and REQUEST in shown(running) and REQUEST in shown(running, "--inactive")
    with gone(DEVICE):
        virsh_of_user("detach-device", running.name, file(), "--live", "--config", group=grouped)
    assert "009901" not in stored(running) + stored(running, "--inactive")


def test_root_has_it_done_there_too(service: subprocess.Popen[str], grouped: int, running: Guest) -> None:
    """Root's connection may be a service itself, whose children end with it."""
    through("attach-device", running.name, file(), "--live")
    assert link(DEVICE)
    through("detach-device", running.name, file(), "--live")
    assert not hands()


def test_without_the_service_it_says_so_and_nothing_changes(grouped: int, running: Guest) -> None:
    before = stored(running)
    done = virsh_of_user("attach-device", running.name, file(), group=grouped, check=False)
    assert done.returncode == 1
    assert f"cannot reach libvirt-vepad at {SOCKET}: No such file or directory; see 'systemctl status" in done.stderr
    assert stored(running) == before and link(DEVICE) is None
    virsh_of_user("attach-device", running.name, file(), "--config", group=grouped)
    assert REQUEST in shown(running, "--inactive")


def test_who_may_not_use_libvirt_gets_nothing(service: object, grouped: int, running: Guest) -> None:
    done = virsh_of_user("list", group=grouped + 1, check=False)
    assert f"cannot connect to {LIBVIRTS}: Permission denied; try again as root, or as a member" in done.stderr
    before = state_files(), stored(running)
    for asked in ({"do": "attach", "request": WANTED}, {"do": "detach"}):
        said = conversation({**asked, "guest": running.uuid}, user=as_user(grouped + 1))
        assert "cannot ask libvirt to change guest" in said[0]["error"] and "Permission denied" in said[0]["error"]
        assert said[0]["remedy"] == "try again as root, or as a member of the group libvirt"
    assert (state_files(), stored(running)) == before and link(DEVICE) is None


def test_a_user_without_rights_holds_no_lock(service: object, grouped: int, running: Guest) -> None:
    """A conversation that libvirt has refused stays open, and does not keep anybody else waiting."""
    with Conversation(as_user(grouped + 1)) as client:
        assert "Permission denied" in client.say(detach(running))["error"]
        through("attach-device", running.name, file(), "--live")
    assert link(DEVICE)


def test_what_is_begun_and_given_up_leaves_nothing(service: object, grouped: int, running: Guest) -> None:
    before = state_files(), stored(running)
    with gone(DEVICE):
        assert conversation(attach(running), user=as_user(grouped)) == [{}]
    assert conversation(attach(running), {"do": "rollback"}, user=as_user(grouped)) == [{}, {}]
    assert (state_files(), stored(running)) == before and link(DEVICE) is None
    said = conversation(detach(running), {"do": "await_removal", "name": MAC}, user=as_user(grouped))
    assert said == [{}, {}] and link(running.device)


def test_an_attach_that_libvirt_has_not_made_is_taken_back(service: object, grouped: int, running: Guest) -> None:
    before = state_files(), stored(running)
    assert conversation(attach(running), {"do": "commit"}, user=as_user(grouped)) == [{}, {}]
    assert (state_files(), stored(running)) == before and link(DEVICE) is None


def test_what_is_made_is_what_libvirt_attaches(service: object, grouped: int, running: Guest) -> None:
    """Nobody gets a device for one MAC, and has libvirt attach it with another."""
    other = f"""<interface type='ethernet'><mac address='52:54:00:00:99:02'/><target dev='{DEVICE}' managed='no'/>
        <model type='virtio'/><alias name='{ALIAS}'/></interface>"""
    with Conversation(as_user(grouped)) as client:
        assert client.say(attach(running)) == {}
        run(*as_user(grouped), "virsh", "-q", "-c", "qemu:///system", "attach-device", running.name, file(other))
        answer = client.say({"do": "commit"})
    assert f"libvirt has attached an interface that is not {MAC} on {DEVICE}" in answer["error"]
    assert link(DEVICE) is None


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (WANTED.replace(f" mac='{MAC}'", ""), "it does not say which MAC and device"),
        (WANTED.replace(DEVICE, "eth1"), "device eth1 would have the name of the NIC of 'lan'"),
        (WANTED.replace("lan", "none"), "no physical interface 'none' is defined on this host"),
        (WANTED.replace(f"{MAC}'", f"{MAC}' trust='on'"), "it says 'trust', which is not known here"),
        ("<interfaces/>", "one request is attached at a time"),
        (INTERFACE, "one request is attached at a time"),
        ("<interfaces>" + "<!--" * 4000, "not well-formed XML"),
    ],
)
def test_a_request_that_cannot_be_met_leaves_nothing(
    service: object, grouped: int, running: Guest, request_: str, what: str
) -> None:
    before = state_files(), stored(running)
    (said,) = conversation(attach(running, request_), user=as_user(grouped))
    assert what in said["error"] and said["remedy"]
    assert (state_files(), stored(running)) == before and link("eth1")


@pytest.mark.parametrize(
    "asked",
    [
        {"do": "attach", "request": WANTED},
        {"do": "attach", "guest": "../../etc", "request": WANTED},
        {"do": "detach"},
        {"do": "detach", "guest": "00010203-0405-0607-0809-0a0b0c0d0e0f"},
        {"do": "commit"},
        {"do": "rollback"},
        {"do": "await_removal", "name": MAC},
        {"do": "open", "guest": "x"},
        {},
    ],
)
def test_what_is_not_understood_is_refused(service: object, grouped: int, asked: dict[str, str]) -> None:
    (said,) = conversation(asked, user=as_user(grouped))
    assert said["error"] and said["remedy"]


def test_a_second_change_of_one_guest_waits_for_the_first(service: object, grouped: int, running: Guest) -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(SOCKET))
        channel.sendall(json.dumps(detach(running)).encode() + b"\n")
        assert channel.recv(100) == b"{}\n"
        words = ("virsh", "-q", "-c", URI, "attach-device", running.name, file())
        client = subprocess.Popen(words)
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(1)
    assert client.wait(60) == 0 and link(DEVICE)


def test_nothing_runs_afterwards(service: subprocess.Popen[str], grouped: int, running: Guest) -> None:
    virsh_of_user("attach-device", running.name, file(), group=grouped)
    virsh_of_user("detach-device", running.name, file(), group=grouped)
    assert not hands()
    childless(service)
