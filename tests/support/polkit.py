# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A polkitd of the lab's own, on a bus of its own, with Debian's rules for libvirt and those of a test.

Both are unpacked in here only. The lab has a /run of its own, so the machine's bus is never asked.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.guest import TOP
from tests.lab.shell import run
from tests.support.rights import MANAGE

PACKAGES = TOP / "build/polkit"
RULES = Path("/etc/polkit-1/rules.d/10-test.rules")
# Where libvirtd and polkit's commands look (dbus-daemon(1)).
BUS = Path("/run/dbus/system_bus_socket")
BUS_CONF = f"""\
<busconfig>
  <type>system</type>
  <listen>unix:path={BUS}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
  <policy user="polkitd"><allow own="org.freedesktop.PolicyKit1"/></policy>
</busconfig>
"""
SECONDS = 60


@contextmanager
def polkit(rules: str) -> Iterator[None]:
    """Run it with these rules; a libvirtd that asks it is started later, and stopped before the end."""
    _unpack()
    RULES.parent.mkdir(parents=True, exist_ok=True)
    RULES.write_text(rules, encoding="ascii")
    BUS.parent.mkdir(exist_ok=True)
    with _ended_after(_bus()), _ended_after(_daemon()):
        yield
    RULES.unlink()
    BUS.unlink(missing_ok=True)


@contextmanager
def ruled(rules: str, heard: Callable[[], bool]) -> Iterator[None]:
    """Have it go by other rules for a while, from when `heard` says that it does."""
    before = RULES.read_text(encoding="ascii")
    try:
        _rule(rules, heard)
        yield
    finally:
        _rule(before, lambda: not heard())


def _rule(rules: str, heard: Callable[[], bool]) -> None:
    RULES.write_text(rules, encoding="ascii")
    deadline = time.monotonic() + SECONDS
    while not heard():
        assert time.monotonic() < deadline, f"polkitd has not read its rules in {SECONDS} seconds"


def account(name: str, *groups: str) -> tuple[str, ...]:
    """Add a user who is in these groups; return what becomes this user, as a login does."""
    for group in groups:
        run("groupadd", "-f", group)
    run("useradd", "--user-group", f"--groups={','.join(groups)}", name)
    return ("setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups", "env", "HOME=/run")


def _unpack() -> None:
    if not PACKAGES.exists():
        pytest.skip("polkit's packages are not here: tests/lab/prepare check")
    for package in PACKAGES.glob("*.deb"):
        # What goes with the newer libvirt is there with it.
        libvirts = package.name.startswith("libvirt-")
        if not libvirts or os.environ["LIBVIRT_VEPA_LAB"] == "stock":
            only = "./usr/share/polkit-1" if libvirts else "--exclude=./etc"
            run("sh", "-c", f"dpkg-deb --fsys-tarfile {package} | tar -x -C / --keep-directory-symlink {only}")
    run("ldconfig")


def _bus() -> subprocess.Popen[str]:
    """Start the bus, and return when it listens."""
    file = Path("/run/polkit-bus.conf")
    file.write_text(BUS_CONF, encoding="ascii")
    run("useradd", "--system", "polkitd", check=False)
    words = ("dbus-daemon", f"--config-file={file}", "--nofork", "--nopidfile", "--print-address=1")
    bus = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert bus.stdout and select.select([bus.stdout], [], [], SECONDS)[0], "the bus is silent"
    assert bus.stdout.readline(), "the bus has ended"
    return bus


def _daemon() -> subprocess.Popen[str]:
    """Start polkitd, and return when it answers."""
    daemon = subprocess.Popen(("/usr/lib/polkit-1/polkitd", "--no-debug"), text=True)
    deadline = time.monotonic() + SECONDS
    while run("pkaction", "--action-id", MANAGE, check=False).returncode:
        assert daemon.poll() is None and time.monotonic() < deadline, f"polkitd does not answer in {SECONDS} seconds"
    return daemon


@contextmanager
def _ended_after(process: subprocess.Popen[str]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(SECONDS)
