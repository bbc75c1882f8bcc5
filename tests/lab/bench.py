# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make bench`: what the hook and the connection cost, in one run, as ratios of medians.

Runs inside the lab. Each thing and what it is compared with take turns, so that a slow moment hits both.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import libvirt

from tests.lab.daemon import daemon, virsh
from tests.lab.documents import definition
from tests.lab.guest import Guest, define, stored
from tests.lab.network import nic
from tests.lab.shell import run
from tests.support.socket_unit import SOCKET, enabled_socket

RUNS = 30
CALLS = 10_000
# A gigabyte takes a second or two.
VOLUME_RUNS = 7
MEBIBYTE, GIBIBYTE = 2**20, 2**30
GIBIBYTE_EIGHTH = GIBIBYTE // 8
# In memory, in the lab.
POOL, COPY = Path("/run/bench-pool"), Path("/run/bench-copy/one")
PLAIN = "qemu:///system"
CONNECTION = "qemu+ext:///system?command=/usr/bin/libvirt-vepa-connect"
HOOK = "/etc/libvirt/hooks/qemu.d/libvirt-vepa"
# What libvirtd gives a hook, and little else.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
# The same devices as the hook makes for one macvtap, without a plan, a journal or a question asked.
SHELL_HOOK = """\
#!/bin/sh
cat >/dev/null
case $2 in
prepare)
    ip link set eth1 up
    ip link add link eth1 name {device} address {mac} type macvtap mode vepa
    echo 1 >/proc/sys/net/ipv6/conf/{device}/disable_ipv6
    ip link set {device} allmulticast on up ;;
release)
    ip link delete {device} ;;
esac
"""

Action = Callable[[], object]


def main() -> int:
    """Measure and print; the exit status says only that it ran."""
    run("make", "install")
    with nic("eth1"):
        run("libvirt-vepa", "iface-define", "-", stdin=definition("lan", "eth1"))
        guest = Guest(1)
        guest.ask("vepa")
        document = stored(guest).encode()
        print(f"medians of {RUNS} runs, in milliseconds\n")
        print(f"{'':44}{'this':>8}{'other':>8}{'ratio':>8}")
        _foreign(document)
        _one_guest(guest, document)
        with daemon():
            _whole_start(guest)
            _connection()
    return 0


def _foreign(document: bytes) -> None:
    foreign = document.replace(b"physical", b"personal")
    hook = _hook(HOOK, "prepare", foreign)
    _compare(
        "foreign guest : python3 -I -S -c pass", hook, _call(("/usr/bin/python3", "-I", "-S", "-c", "pass"), foreign)
    )
    shell = _script("cat", "#!/bin/sh\ncat >/dev/null\n")
    _compare("foreign guest : shell hook, cat >/dev/null", hook, _hook(shell, "prepare", foreign))


def _one_guest(guest: Guest, document: bytes) -> None:
    shell = _script("same", SHELL_HOOK.format(device=guest.device, mac=guest.mac))
    ours, theirs = _pairs(_both(HOOK, document), _both(shell, document))
    for number, name in enumerate(("prepare", "release")):
        _report(f"{name}, one NIC : ip link in a shell hook", ours[number], theirs[number])


def _both(hook: str, document: bytes) -> Callable[[], tuple[float, float]]:
    prepare, release = _hook(hook, "prepare", document), _hook(hook, "release", document)
    return lambda: (_time(prepare), _time(release))


def _pairs(
    one: Callable[[], tuple[float, float]], other: Callable[[], tuple[float, float]]
) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Take turns; return for each the times of its first and of its second part."""
    taken = [(one(), other()) for _ in range(RUNS)]
    return list(zip(*(mine for mine, _ in taken), strict=True)), list(
        zip(*(theirs for _, theirs in taken), strict=True)
    )


def _whole_start(guest: Guest) -> None:
    direct = Guest(2)
    direct.interfaces = (
        f"<interface type='direct'><source dev='eth1' mode='vepa'/><mac address='{direct.mac}'/>"
        "<model type='virtio'/></interface>"
    )
    for each in (guest, direct):
        define(each)
    _compare("virsh start + destroy : type='direct'", _start_and_destroy(guest), _start_and_destroy(direct))


def _connection() -> None:
    """Small calls, in turns of a thirtieth of 10,000 each, and what opening costs."""
    ours, plain = libvirt.open(CONNECTION), libvirt.open(PLAIN)
    _compare(f"{CALLS // RUNS} small calls : the plain socket", _calls(ours), _calls(plain))
    _compare("open and close a connection : plain", _opens(CONNECTION), _opens(PLAIN))
    with enabled_socket():
        _compare("the same through the socket : plain", _opens(f"{PLAIN}?socket={SOCKET}"), _opens(PLAIN))
    for kind, guest in (("no request", _large(3, False)), ("a request", _large(4, True))):
        _compare(f"dumpxml of 1 MiB, {kind} : plain", _dumpxml(ours, guest), _dumpxml(plain, guest))
    _volumes(ours)
    for each in (ours, plain):
        each.close()


def _large(number: int, asks: bool) -> Guest:
    """Define a guest whose XML is 1 MiB long."""
    guest = Guest(number)
    if asks:
        guest.ask("vepa")
    text = f"</uuid><description>{'x' * MEBIBYTE}</description>"
    virsh("define", "/dev/stdin", stdin=stored(guest).replace("</uuid>", text))
    return guest


def _dumpxml(connection: libvirt.virConnect, guest: Guest) -> Action:
    action: Action = connection.lookupByName(guest.name).XMLDesc
    return action


def _volumes(ours: libvirt.virConnect) -> None:
    """Upload and download 1 GiB in a folder in memory, and look at what the connection's process takes meanwhile."""
    for folder in (POOL, COPY.parent):
        folder.mkdir(exist_ok=True)
    with COPY.open("wb") as file:
        for _ in range(GIBIBYTE // MEBIBYTE):
            file.write(os.urandom(MEBIBYTE))
    virsh("pool-create-as", "bench", "dir", "--target", str(POOL))
    virsh("vol-create-as", "bench", "one", str(GIBIBYTE))
    for word in ("upload", "download"):
        _compare(f"vol-{word} of 1 GiB : plain", _volume(CONNECTION, word), _volume(PLAIN, word), VOLUME_RUNS)
    _memory(ours)
    virsh("pool-destroy", "bench")


def _volume(uri: str, word: str) -> Action:
    return lambda: run("virsh", "-q", "-c", uri, f"vol-{word}", "one", str(COPY), "--pool", "bench")


def _memory(ours: libvirt.virConnect) -> None:
    pid = _relay()
    stream, taken, seen = ours.newStream(), 0, [_resident(pid)]
    ours.storageVolLookupByPath(str(POOL / "one")).download(stream, 0, GIBIBYTE, 0)
    while data := stream.recv(256 * 1024):
        if taken // GIBIBYTE_EIGHTH != (taken := taken + len(data)) // GIBIBYTE_EIGHTH:
            seen.append(_resident(pid))
    stream.finish()
    seen.append(_resident(pid))
    print(f"\nKiB of the connection's process, before, eight times during and after 1 GiB: {' '.join(map(str, seen))}")


def _relay() -> int:
    """Return the connection's process that this one has started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    (found,) = (pid for pid in children if b"libvirt-vepa-connect" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return int(found)


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def _calls(connection: libvirt.virConnect) -> Action:
    return lambda: [connection.numOfDomains() for _ in range(CALLS // RUNS)]


def _opens(uri: str) -> Action:
    return lambda: libvirt.open(uri).close()


def _start_and_destroy(guest: Guest) -> Action:
    def action() -> None:
        virsh("start", guest.name)
        virsh("destroy", guest.name)

    return action


def _script(name: str, text: str) -> str:
    path = Path("/run") / f"bench-{name}"
    path.write_text(text, encoding="ascii")
    path.chmod(0o755)
    return str(path)


def _hook(hook: str, operation: str, document: bytes) -> Action:
    sub = {"prepare": "begin", "release": "end"}[operation]
    return _call((hook, "lab1", operation, sub, "-"), document)


def _call(command: tuple[str, ...], document: bytes) -> Action:
    return lambda: subprocess.run(command, input=document, env=ENVIRONMENT, cwd="/", capture_output=True, check=True)


def _time(action: Action) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _compare(name: str, one: Action, other: Action, runs: int = RUNS) -> None:
    one(), other()
    taken = [(_time(one), _time(other)) for _ in range(runs)]
    _report(name, [mine for mine, _ in taken], [theirs for _, theirs in taken])


def _report(name: str, one: list[float] | tuple[float, ...], other: list[float] | tuple[float, ...]) -> None:
    mine, theirs = statistics.median(one) * 1000, statistics.median(other) * 1000
    print(f"{name:44}{mine:8.1f}{theirs:8.1f}{mine / theirs:8.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
