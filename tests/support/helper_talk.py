# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The services as systemd starts them, and what users say to libvirt-vepad past the connection."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.guest import Guest
from tests.support.hotplug_steps import DEVICE, MAC
from tests.support.via_proxy import gone

HELPER = "libvirt-vepad"
SOCKET = Path("/run/libvirt/libvirt-vepad-sock")
SECONDS = 60
ALIAS = "ua-physical-525400009901"
WANTED = f"""<interfaces>
<interface alias='{ALIAS}' name='lan' type='macvtap' mac='{MAC}' device='{DEVICE}'/></interfaces>"""
# Says each line of its standard input to the service, and the service's answer on its standard output.
CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as channel:
    channel.settimeout(60)
    channel.connect(sys.argv[1])
    file = channel.makefile("rwb")
    for line in sys.stdin.buffer:
        try:
            file.write(line)
            file.flush()
        except BrokenPipeError:
            pass
        print(file.readline().decode().strip() or "{}", flush=True)
"""
Answer = dict[str, str]


@contextmanager
def listening(program: str = HELPER, path: Path = SOCKET) -> Iterator[subprocess.Popen[str]]:
    """Run a service on its socket, which everybody may connect to and which it is given (sd_listen_fds(3))."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        start = f"LISTEN_PID=$$ LISTEN_FDS=1 exec {program} --listen 3<&{listener.fileno()}"
        process = subprocess.Popen(("bash", "-c", start), pass_fds=[listener.fileno()], text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        path.unlink()


def children(service: subprocess.Popen[str]) -> list[str]:
    """Return a service's processes for those who have connected."""
    return Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text(encoding="ascii").split()


def childless(service: subprocess.Popen[str]) -> None:
    """Return when a service has no process for anybody."""
    for child in children(service):
        gone(child)


def until(what: str, condition: Callable[[], bool]) -> None:
    """Return when something is so."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in {SECONDS} seconds: {what}"


class Conversation:
    """What somebody says to the helper, and hears; `through` is what becomes that user."""

    def __init__(self, through: Sequence[str]) -> None:
        words = (*through, "/usr/bin/python3", "-c", CLIENT, str(SOCKET))
        self._client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, request: Mapping[str, str]) -> Answer:
        """Say something; return the answer."""
        assert self._client.stdin and self._client.stdout
        self._client.stdin.write(json.dumps(request) + "\n")
        self._client.stdin.flush()
        answer: Answer = json.loads(self._client.stdout.readline())
        return answer

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.communicate(timeout=SECONDS)


def conversation(*requests: Mapping[str, str], user: Sequence[str]) -> list[Answer]:
    """Say these, and end; return the answers."""
    with Conversation(user) as client:
        return [client.say(request) for request in requests]


def attach(guest: Guest, request: str = WANTED) -> dict[str, str]:
    """Return what asks for a device for a guest."""
    return {"do": "attach", "guest": guest.uuid, "request": request}


def detach(guest: Guest) -> dict[str, str]:
    """Return what begins to detach from a guest."""
    return {"do": "detach", "guest": guest.uuid}
