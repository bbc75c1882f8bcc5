"""`make bench`: what the hook costs, in one run, as ratios of medians.

Runs inside the lab. Each thing and what it is compared with take turns, so that a slow moment hits both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import libvirt

from tests.lab.daemon import daemon, virsh
from tests.lab.guest import Guest, define, stored
from tests.lab.network import nic
from tests.lab.shell import run

RUNS = 30
CALLS = 10_000
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
        run("libvirt-vepa", "iface-define", "-", stdin=_definition())
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


def _definition() -> str:
    return "<interface type='physical' name='lan'><source dev='eth1'/><type>ethernet</type></interface>"


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
    for each in (ours, plain):
        each.close()


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


def _compare(name: str, one: Action, other: Action) -> None:
    one(), other()
    taken = [(_time(one), _time(other)) for _ in range(RUNS)]
    _report(name, [mine for mine, _ in taken], [theirs for _, theirs in taken])


def _report(name: str, one: list[float] | tuple[float, ...], other: list[float] | tuple[float, ...]) -> None:
    mine, theirs = statistics.median(one) * 1000, statistics.median(other) * 1000
    print(f"{name:44}{mine:8.1f}{theirs:8.1f}{mine / theirs:8.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
