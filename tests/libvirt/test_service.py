# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`libvirt-vepad`: who may use libvirt but is not root attaches and detaches, and gets no more than libvirt gives."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.guest import Guest
from tests.lab.shell import link, run
from tests.libvirt.conftest import as_user, gone
from tests.support.hotplug_steps import DEVICE, INTERFACE, MAC, REQUEST, file, shown, stored
from tests.support.via_proxy import URI, hands, through
from tests.support.via_proxy import gone as ended

SOCKET = Path("/run/libvirt/libvirt-vepad-sock")
LIBVIRTS = Path("/run/libvirt/libvirt-sock")
SECONDS = 60


def virsh_of_user(*arguments: str, group: int, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run virsh through the connection as an ordinary user who is in one group."""
    words = ("env", "-u", "LIBVIRT_DEFAULT_URI", "virsh", "-q", "-c", URI)
    return run(*as_user(group), *words, *arguments, check=check)


@pytest.fixture
def service(grouped: int) -> Iterator[subprocess.Popen[str]]:
    with listening() as process:
        yield process


@contextmanager
def listening() -> Iterator[subprocess.Popen[str]]:
    """Run the service on its socket, which it is given as systemd does (sd_listen_fds(3))."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(SOCKET))
        SOCKET.chmod(0o666)
        listener.listen()
        start = f"LISTEN_PID=$$ LISTEN_FDS=1 exec libvirt-vepad --listen 3<&{listener.fileno()}"
        process = subprocess.Popen(("bash", "-c", start), pass_fds=[listener.fileno()], text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        SOCKET.unlink()


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
    said = conversation({"do": "open", "guest": uuid(running)}, group=grouped + 1)
    assert "does nothing for this user" in said[0]["error"]


def uuid(guest: Guest) -> str:
    return run("virsh", "-q", "domuuid", guest.name).stdout.strip()


def conversation(*requests: dict[str, str], group: int) -> list[dict[str, Any]]:
    """Say these to the service as an ordinary user, and return what it answers."""
    code = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as channel:
    channel.settimeout(60)
    channel.connect(sys.argv[1])
    file = channel.makefile("rwb")
    for request in json.loads(sys.argv[2]):
        try:
            file.write(json.dumps(request).encode() + b"\\n")
            file.flush()
        except BrokenPipeError:
            pass
        print(file.readline().decode().strip() or "{}")
"""
    done = run(*as_user(group), "/usr/bin/python3", "-c", code, str(SOCKET), json.dumps(requests))
    return [json.loads(line) for line in done.stdout.splitlines()]


STORED = f"""<interface type='ethernet'><mac address='{MAC}'/><target dev='{DEVICE}' managed='no'/>
<alias name='ua-physical-525400009901'/></interface>"""


def test_nothing_is_made_that_libvirt_does_not_know_of(service: object, grouped: int, running: Guest) -> None:
    begin = {"do": "open", "guest": uuid(running)}
    said = conversation(
        begin, {"do": "attach", "interface": STORED}, {"do": "attach", "interface": INTERFACE}, group=grouped
    )
    assert said[0] == {}
    assert "alias 'ua-physical-525400009901' has no request in the metadata" in said[1]["error"]
    assert "the request has not been translated" in said[2]["error"]
    said = conversation(begin, {"do": "await_removal", "name": running.mac}, group=grouped)
    assert said == [{}, {}] and link(running.device)
    said = conversation(begin, {"do": "rollback"}, group=grouped)
    assert said == [{}, {}] and link(running.device) and REQUEST not in stored(running)


@pytest.mark.parametrize(
    "asked",
    [
        {"do": "attach", "interface": STORED},
        {"do": "open"},
        {"do": "open", "guest": "../../etc"},
        {"do": "commit"},
        {"do": "release", "guest": "x"},
        {},
    ],
)
def test_what_is_not_understood_is_refused(service: object, grouped: int, asked: dict[str, str]) -> None:
    (said,) = conversation(asked, group=grouped)
    assert said["error"] and said["remedy"]


def test_a_device_of_the_hosts_own_is_not_touched(service: object, grouped: int, running: Guest) -> None:
    run("virsh", "metadata", running.name, "urn:libvirt-vepa:physical:1", "--key", "physical", "--live", "--set",
        "<interfaces><interface alias='ua-x' name='lan' type='macvtap'/></interfaces>")  # fmt: skip
    taken = STORED.replace(DEVICE, "eth1").replace("ua-physical-525400009901", "ua-x")
    said = conversation({"do": "open", "guest": uuid(running)}, {"do": "attach", "interface": taken}, group=grouped)
    assert "device eth1 exists and is not this guest's" in said[1]["error"]
    assert link("eth1")


def test_a_second_change_of_one_guest_waits_for_the_first(service: object, grouped: int, running: Guest) -> None:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(SOCKET))
        channel.sendall(json.dumps({"do": "open", "guest": uuid(running)}).encode() + b"\n")
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
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text(encoding="ascii").split()
    for child in children:
        ended(child)
