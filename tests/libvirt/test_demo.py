# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make demo` and the lab as a person sees them: whatever ends them, nothing is left behind.

The lab is entered again inside the lab, which is then the machine.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.lab.shell import ip_json, run

TOP = Path(__file__).resolve().parents[2]
ENTER = os.fspath(TOP / "tests/lab/enter")
DEMO = (ENTER, "/usr/bin/python3", "-m", "tests.lab.demo")
END_SECONDS = 60
PROGRAMS = {"libvirtd", "virtlogd", "qemu-system-x86"}


def machine() -> dict[str, object]:
    """Return what a lab could leave on the machine."""
    return {
        "links": sorted(link["ifname"] for link in ip_json("link")),
        "namespaces": run("ip", "netns", "list").stdout,
        "programs": sorted(path.parent.name for path in Path("/proc").glob("[0-9]*/comm") if name(path) in PROGRAMS),
        "cgroups": sorted(map(str, Path("/sys/fs/cgroup").glob("**/machine*"))),
        "mounts": Path("/proc/self/mountinfo").read_text(encoding="ascii"),
        "libvirt": sorted(map(str, Path("/etc/libvirt").rglob("*"))),
    }


def name(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:  # it has ended meanwhile
        return ""


def node(index: str) -> Path:
    """Return the character device of a macvtap; all labs and the machine share /dev, so only that one is looked at."""
    return Path(f"/dev/tap{index}")


def interrupted(signal_number: int, moment: str) -> str:
    """Send a signal to the whole demo, as a terminal does, at that moment of its output; return its complaints."""
    demo = subprocess.Popen(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=TOP
    )
    assert demo.stdout
    text = ""
    for line in demo.stdout:
        text += line
        if moment in line:
            break
    nodes = [node(index) for index in re.findall(r"^  (\d+): vp", text, re.MULTILINE)]
    assert all(path.exists() for path in nodes)
    os.killpg(demo.pid, signal_number)
    _, errors = demo.communicate(timeout=END_SECONDS)
    assert demo.returncode != 0
    assert not any(path.exists() for path in nodes)
    return errors


@pytest.mark.parametrize("moment", ["Starting a libvirtd", "virsh start lab2", "waiting for the guests"])
def test_ctrl_c_leaves_nothing(moment: str) -> None:
    before = machine()
    assert "Traceback" not in interrupted(signal.SIGINT, moment)
    assert machine() == before


def test_the_end_of_the_terminal_leaves_nothing() -> None:
    before = machine()
    interrupted(signal.SIGHUP, "waiting for the guests")
    assert machine() == before


def test_a_command_that_fails_leaves_nothing_and_its_status() -> None:
    before = machine()
    left = (
        "ip netns add x; ip link add a1 type veth peer name b1; ip link add c1 link b1 type macvtap;"
        "cat /sys/class/net/c1/ifindex; exit 7"
    )
    done = subprocess.run((ENTER, "bash", "-c", left), stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7
    assert not node(done.stdout.strip()).exists()
    assert machine() == before


@pytest.mark.parametrize("arguments", [(), ("--pair", "other", "true")])
def test_wrong_usage_says_so(arguments: tuple[str, ...]) -> None:
    done = run(ENTER, *arguments, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: tests/lab/enter")
