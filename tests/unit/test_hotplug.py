# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attach, detach and update as the daemon and the hand see them, with each of their answers an error once."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable

import pytest
from lxml import etree

from libvirt_vepa.model.interface import NAMESPACE
from libvirt_vepa.proxy.helper_client import HelperClient, refuse_helper
from libvirt_vepa.proxy.relay import OWN_SERIALS, Relay
from libvirt_vepa.rpc import procedures
from tests.support import remote_protocol as remote

LIVE, CONFIG = 1, 2
MAC, ALIAS = "52:54:00:aa:bb:cc", "ua-physical-525400aabbcc"
INTERFACE = f"""<interface type='physical'>
  <name>lan</name><type>macvtap</type><target mode='vepa'/><mac address='{MAC}'/>
</interface>""".encode()
OTHERS = b"<interface alias='ua-mine' name='dmz' type='tap'/>"
REFUSED = struct.pack(">2I", 38, 10) + b"the daemon's own words"
NO_METADATA = struct.pack(">2I", 80, 20)


class Daemon:
    """Answers what is asked of it; `fails` is the number of the call of ours that it refuses."""

    def __init__(self, active: bool = True, fails: int = 0, requests: dict[int, bytes | None] | None = None) -> None:
        self.active, self.fails = active, fails
        self.requests: dict[int, bytes | None] = requests or {LIVE: None, CONFIG: None}
        self.heard: list[str] = []
        self.interfaces: dict[int, bytes] = {}

    def answer(self, call: remote.Frame) -> remote.Frame:
        payload, status = self._answer(call)
        if len(self.heard) == self.fails:
            payload, status = REFUSED, remote.ERROR
        return remote.reply(call.procedure, payload, call.serial, status)

    def _answer(self, call: remote.Frame) -> tuple[bytes, int]:
        assert call.payload.startswith(remote.domain())
        rest, fine = call.payload[len(remote.domain()) :], len(self.heard) + 1 != self.fails
        match call.procedure:
            case procedures.IS_ACTIVE:
                self.heard.append("active?")
                return struct.pack(">I", self.active), remote.OK
            case procedures.GET_METADATA:
                (scope,) = struct.unpack(">I", rest[-4:])
                self.heard.append(f"get {scope}")
                found = self.requests[scope]
                return (NO_METADATA, remote.ERROR) if found is None else (remote.string(found), remote.OK)
            case procedures.SET_METADATA:
                (scope,) = struct.unpack(">I", rest[-4:])
                self.heard.append(f"set {scope}")
                if fine:
                    self.requests[scope] = _option(rest, 4)
                return b"", remote.OK
            case procedures.GET_XML:
                self.heard.append("xml")
                return remote.string(self._xml()), remote.OK
            case _:
                self.heard.append(f"call {call.procedure}")
                length = struct.unpack_from(">I", rest)[0]
                self.interfaces[0] = rest[4 : 4 + length]
                return b"", remote.OK

    def _xml(self) -> bytes:
        wrapper = self.requests[CONFIG] or b"<interfaces/>"
        wrapper = wrapper.replace(b"<interfaces", f"<interfaces xmlns='{NAMESPACE}'".encode(), 1)
        return b"<domain><metadata>" + wrapper + b"</metadata><devices/></domain>"


def _option(payload: bytes, at: int) -> bytes | None:
    there, length = struct.unpack_from(">2I", payload, at)
    return payload[at + 8 : at + 8 + length] if there else None


class Helper:
    """The other side of a hand; `fails` is the number of the request that it refuses."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.heard: list[dict[str, str]] = []
        self.near, self.far = socket.socketpair()

    def open(self) -> HelperClient:
        return HelperClient(self.near)

    def answer(self) -> None:
        said = json.loads(self.far.recv(1 << 20))
        self.heard.append(said)
        outcome = {"error": "it cannot be", "remedy": "help it"} if len(self.heard) == self.fails else {}
        self.far.sendall(json.dumps(outcome).encode() + b"\n")


def run(
    call: remote.Frame, daemon: Daemon, open_hand: Callable[[], HelperClient], helper: Helper | None = None
) -> remote.Frame:
    """Let a relay serve one call to its end; return the client's reply."""
    relay = Relay(open_hand)
    ahead, back = relay.from_client(call.pack())
    while not back:
        if relay.helpers:
            assert helper and not ahead
            helper.answer()
            ahead, back = relay.from_helper(relay.helpers[0])
        else:
            (asked,) = remote.frames(ahead)
            assert asked.serial > OWN_SERIALS
            ahead, back = relay.from_daemon(daemon.answer(asked).pack())
    assert not ahead and not relay.busy
    (reply,) = remote.frames(back)
    assert reply[:5] == (remote.PROGRAM, 1, call.procedure, remote.REPLY, call.serial)
    return reply


def change(procedure: int, document: bytes = INTERFACE, flags: int = LIVE | CONFIG) -> remote.Frame:
    payload = remote.domain() + remote.string(document) + struct.pack(">I", flags)
    return remote.call(procedure, payload, 7)


def aliases(wrapper: bytes | None) -> list[str]:
    return [] if wrapper is None else [child.get("alias", "") for child in etree.fromstring(wrapper)]


def test_an_attach_writes_the_request_first() -> None:
    daemon, helper = Daemon(), Helper()
    reply = run(change(160), daemon, helper.open, helper)
    assert (reply.status, reply.payload) == (remote.OK, b"")
    assert daemon.heard == ["get 2", "set 2", "call 160"]
    assert [said["do"] for said in helper.heard] == ["attach", "commit"]
    assert helper.heard[0]["guest"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert b"<interface type='ethernet'>" in daemon.interfaces[0] and b"managed='no'" in daemon.interfaces[0]
    device = {"mac": MAC, "device": "vp525400aabbcc"}
    for written, more in ((helper.heard[0]["request"].encode(), device), (daemon.requests[CONFIG] or b"", {})):
        (request,) = etree.fromstring(written)
        assert dict(request.attrib) == {"alias": ALIAS, "name": "lan", "type": "macvtap", "mode": "vepa", **more}
        assert b"urn:" not in written
    # What the guest that runs has is the helper's to write.
    assert daemon.requests[LIVE] is None


@pytest.mark.parametrize(
    ("flags", "active", "heard", "requests"),
    [
        (CONFIG, True, ["get 2", "set 2", "call 160"], 0),
        (LIVE, True, ["call 160"], 2),
        (0, False, ["active?", "get 2", "set 2", "call 160"], 0),
        (0, True, ["active?", "call 160"], 2),
    ],
)
def test_only_what_is_meant_is_changed(flags: int, active: bool, heard: list[str], requests: int) -> None:
    daemon, helper = Daemon(active), Helper()
    assert run(change(160, flags=flags), daemon, helper.open, helper).status == remote.OK
    assert (daemon.heard, len(helper.heard)) == (heard, requests)


def test_the_older_call_is_about_the_running_guest() -> None:
    daemon, helper = Daemon(), Helper()
    call = remote.call(8, remote.domain() + remote.string(INTERFACE), 7)
    assert run(call, daemon, helper.open, helper).status == remote.OK
    assert daemon.heard == ["call 8"]


@pytest.mark.parametrize("before", [None, b"<interfaces>" + OTHERS + b"</interfaces>"])
@pytest.mark.parametrize("fails", range(1, 4))
def test_whatever_the_daemon_refuses_leaves_what_was_there(fails: int, before: bytes | None) -> None:
    daemon, helper = Daemon(fails=fails, requests={LIVE: before, CONFIG: before}), Helper()
    reply = run(change(160), daemon, helper.open, helper)
    assert (reply.status, reply.payload) == (remote.ERROR, REFUSED)
    assert [aliases(daemon.requests[scope]) for scope in (LIVE, CONFIG)] == [aliases(before)] * 2
    assert [said["do"] for said in helper.heard] == ["attach", "rollback"]


def test_whatever_the_hand_refuses_leaves_what_was_there() -> None:
    daemon, helper = Daemon(), Helper(fails=1)
    reply = run(change(160), daemon, helper.open, helper)
    assert remote.error(reply.payload).message == b"operation failed: it cannot be; help it"
    assert not any(map(aliases, daemon.requests.values()))
    assert not any(word.startswith("call") for word in daemon.heard)


def test_an_interface_that_is_another_than_was_asked_is_told() -> None:
    daemon, helper = Daemon(), Helper(fails=2)
    reply = run(change(160, flags=LIVE), daemon, helper.open, helper)
    assert remote.error(reply.payload).message == b"operation failed: it cannot be; help it"
    assert [said["do"] for said in helper.heard] == ["attach", "commit"]


def test_a_request_of_that_name_that_was_there_comes_back() -> None:
    stale = f"<interfaces><interface alias='{ALIAS}' name='old' type='tap'/></interfaces>".encode()
    daemon, helper = Daemon(fails=3, requests={LIVE: stale, CONFIG: stale}), Helper()
    assert run(change(160), daemon, helper.open, helper).status == remote.ERROR
    for scope in (LIVE, CONFIG):
        assert [child.get("name") for child in etree.fromstring(daemon.requests[scope])] == ["old"]


def test_without_a_hand_nothing_is_changed() -> None:
    daemon = Daemon()
    reply = run(change(160), daemon, refuse_helper)
    assert b"a session's guest cannot have a NIC of the host" in (remote.error(reply.payload).message or b"")
    assert daemon.heard == []


def test_a_hand_that_goes_is_an_error() -> None:
    helper = Helper()
    relay = Relay(helper.open)
    relay.from_client(change(160).pack())
    helper.far.close()
    ahead, back = relay.from_helper(relay.helpers[0])
    (reply,) = remote.frames(back)
    assert ahead == b"" and b"libvirt-vepad has gone" in (remote.error(reply.payload).message or b"")


@pytest.mark.parametrize("procedure", [13, 161, 392])
def test_a_detach_lets_the_device_go_afterwards(procedure: int) -> None:
    had = f"<interfaces><interface alias='{ALIAS}' name='lan' type='macvtap'/></interfaces>".encode()
    daemon, helper = Daemon(requests={LIVE: had, CONFIG: had}), Helper()
    call = change(procedure, ALIAS.encode() if procedure == 392 else INTERFACE)
    if procedure == 13:
        call = call._replace(payload=call.payload[:-4])
    assert run(call, daemon, helper.open, helper).status == remote.OK
    config = [] if procedure == 13 else ["xml", "set 2"]
    assert daemon.heard == ["get 1", f"call {procedure}", *config]
    assert [said["do"] for said in helper.heard] == ["detach", "await_removal"] and helper.heard[1]["name"] == ALIAS


def test_a_detach_from_a_guest_without_requests_needs_no_hand() -> None:
    daemon = Daemon()
    assert run(change(161), daemon, refuse_helper).status == remote.OK
    assert daemon.heard == ["get 1", "call 161", "xml"]


def test_a_detach_that_is_refused_lets_nothing_go() -> None:
    had = f"<interfaces><interface alias='{ALIAS}' name='lan' type='macvtap'/></interfaces>".encode()
    daemon, helper = Daemon(fails=2, requests={LIVE: had, CONFIG: had}), Helper()
    assert run(change(161), daemon, helper.open, helper).payload == REFUSED
    assert [said["do"] for said in helper.heard] == ["detach"] and aliases(daemon.requests[CONFIG]) == [ALIAS]


def test_an_update_writes_what_it_changes_and_takes_it_back() -> None:
    had = f"<interfaces><interface alias='{ALIAS}' name='lan' type='macvtap' mode='pepa'/></interfaces>".encode()
    daemon = Daemon(requests={LIVE: had, CONFIG: had})
    assert run(change(174, flags=CONFIG), daemon, refuse_helper).status == remote.OK
    assert daemon.heard == ["get 2", "set 2", "call 174"] and b"vepa" in (daemon.requests[CONFIG] or b"")
    daemon = Daemon(fails=3, requests={LIVE: had, CONFIG: had})
    assert run(change(174, flags=CONFIG), daemon, refuse_helper).payload == REFUSED
    assert b"pepa" in (daemon.requests[CONFIG] or b"")


def test_an_update_of_a_running_guest_cannot_change_the_request() -> None:
    had = f"<interfaces><interface alias='{ALIAS}' name='lan' type='macvtap' mode='pepa'/></interfaces>".encode()
    daemon = Daemon(requests={LIVE: had, CONFIG: had})
    reply = run(change(174), daemon, refuse_helper)
    assert b"cannot change while the guest runs; detach it" in (remote.error(reply.payload).message or b"")
    assert daemon.heard == ["get 1"]


ON_A_VF = INTERFACE.replace(b"<mac", b"<vlan><tag id='42'/></vlan><vf trust='on'/><mac")


def test_what_is_asked_of_a_vf_is_written_with_the_request() -> None:
    daemon, helper = Daemon(), Helper()
    assert run(change(160, ON_A_VF), daemon, helper.open, helper).status == remote.OK
    assert b"vlan" not in daemon.interfaces[0] and b"<vf" not in daemon.interfaces[0]
    for written in (helper.heard[0]["request"].encode(), daemon.requests[CONFIG] or b""):
        ((vlan, vf),) = etree.fromstring(written)
        assert (vlan.tag, vlan[0].tag, dict(vlan[0].attrib)) == ("vlan", "tag", {"id": "42"})
        assert (vf.tag, dict(vf.attrib)) == ("vf", {"trust": "on"})
    daemon.requests[LIVE] = helper.heard[0]["request"].encode()
    # The same again is no change, another VLAN is one that a running guest cannot be given.
    assert run(change(174, ON_A_VF), daemon, refuse_helper).status == remote.OK
    reply = run(change(174, ON_A_VF.replace(b"42", b"43")), daemon, refuse_helper)
    assert b"vlan and vf of an interface cannot change while the guest runs" in (
        remote.error(reply.payload).message or b""
    )


@pytest.mark.parametrize("size", [1, 30, 300])
def test_own_calls_wait_for_the_clients_message(size: int) -> None:
    relay, daemon = Relay(refuse_helper), Daemon()
    stream = remote.call(211, b"d" * 700, 9, remote.STREAM)._replace(status=remote.CONTINUE)
    (asked,) = remote.frames(relay.from_client(change(160, flags=CONFIG).pack())[0])
    ahead = relay.from_client(stream.pack()[:size])[0]
    ahead += relay.from_daemon(daemon.answer(asked).pack())[0]
    ahead += relay.from_client(stream.pack()[size:])[0]
    frames = list(remote.frames(ahead))
    assert stream in frames and {frame.procedure for frame in frames} == {211, procedures.SET_METADATA}
