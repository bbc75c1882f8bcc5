# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a call of the hook costs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab.bench import services
from tests.lab.bench.table import Action, Goal, Table
from tests.lab.guest import Guest
from tests.lab.hook import ENVIRONMENT, HOOK, STATIONS, stored

# The same devices as the hook makes for one macvtap, without a plan, a journal or a question asked.
SAME = """\
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
NOTHING = "#!/bin/sh\ncat >/dev/null\n"
BARE = ("/usr/bin/python3", "-I", "-S", "-c", "pass")
# One more NIC: this guest is there already.
THERE = 9


def asking(number: int) -> tuple[Guest, bytes]:
    """Return a guest that asks for `lan`, and its XML as libvirt keeps it."""
    guest = Guest(number)
    guest.ask("vepa")
    return guest, stored(guest)


def call(operation: str, document: bytes, hook: str = HOOK, through: tuple[str, ...] = ()) -> Action:
    """Return what calls a hook as libvirtd does, perhaps on another host that a command enters."""
    command = (*through, hook, "lab1", operation, *STATIONS[operation])
    return _run(command, document)


def _run(command: tuple[str, ...], document: bytes) -> Action:
    return lambda: subprocess.run(command, input=document, env=ENVIRONMENT, cwd="/", capture_output=True, check=True)


def script(name: str, text: str) -> str:
    """Write a program where every host of the lab has it; return its path."""
    path = Path("/usr/local/bin") / f"bench-{name}"
    path.write_text(text, encoding="ascii")
    path.chmod(0o755)
    return str(path)


def foreign(table: Table) -> None:
    """A guest that asks for nothing of ours."""
    document = asking(1)[1].replace(b"physical", b"personal")
    with services.helper():
        hook = call("prepare", document)
        table.compare("hook, foreign guest : python3 -I -S -c pass", hook, _run(BARE, document), Goal(1.1))
        nothing = call("prepare", document, script("nothing", NOTHING))
        table.compare("hook, foreign guest : shell hook, cat >/dev/null", hook, nothing)


def prepare(table: Table) -> None:
    """One more NIC, with the helper."""
    with services.helper():
        _one_more(table, "", (Goal(beyond=40), Goal(6)), ())


def prepare_alone(table: Table) -> None:
    """One more NIC without the helper. The goals are what it was before there was one (tests/README.md)."""
    _one_more(table, ", no helper", (Goal(31),), (Goal(9.4),))


def _one_more(table: Table, how: str, prepare_goals: tuple[Goal, ...], release_goals: tuple[Goal, ...]) -> None:
    guest, document = asking(1)
    shell = script("same", SAME.format(device=guest.device, mac=guest.mac))
    there = asking(THERE)[1]
    call("prepare", there)()
    rows = {
        f"prepare, one NIC more{how} : ip link in a shell hook": prepare_goals,
        f"release of it{how} : ip link in a shell hook": release_goals,
    }
    table.compare_steps(rows, _both(document, HOOK), _both(document, shell))
    call("release", there)()


def _both(document: bytes, hook: str) -> list[Action]:
    return [call(operation, document, hook) for operation in ("prepare", "release")]
