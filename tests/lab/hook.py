# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed hook and command, and the hook called exactly as libvirtd calls it.

LIBVIRT_VEPA_PYTHON names a Python with other libraries than the system's; hook and command are then made to run
with it, from a prefix of their own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from libvirt_vepa.xml import translate
from tests.lab.documents import definition
from tests.lab.guest import Guest
from tests.lab.shell import BOUND_SECONDS, run

TOP = Path(__file__).resolve().parents[2]
OTHER = os.environ.get("LIBVIRT_VEPA_PYTHON", "")
PYTHON = OTHER or "/usr/bin/python3"
# Below one of the folders that are the lab's own, and not where the system's Python looks.
PREFIX = "/usr/lib/vepa" if OTHER else "/usr"
PACKAGES = Path(PREFIX, "lib/python3/dist-packages")
PACKAGE = PACKAGES / "libvirt_vepa"
COMMAND = f"{PREFIX}/bin/libvirt-vepa"
HOOK = "/etc/libvirt/hooks/qemu.d/libvirt-vepa"
HAND_OVER = Path(PREFIX, "share/libvirt-vepa/hand_over.py")
PROGRAM = Path(f"{COMMAND}-hook")
STATE = Path("/run/libvirt/vepa")
# virCommandAddEnvPassCommon of libvirt's vircommand.c.
ENVIRONMENT = {
    "LC_ALL": "C",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "TMPDIR": "/tmp",
}
# Sub-operation and last argument, as qemu_process.c and qemu_migration.c give them.
STATIONS = {
    "prepare": ("begin", "-"),
    "start": ("begin", "-"),
    "started": ("begin", "-"),
    "stopped": ("end", "-"),
    "release": ("end", "-"),
    "migrate": ("begin", "-"),
    "restore": ("begin", "-"),
    "reconnect": ("begin", "-"),
}

Done = subprocess.CompletedProcess[bytes]


def install() -> None:
    """Install hook and command for the Python that is tested."""
    # Nobody publishes this one for virtual environments.
    for file in Path("/usr/lib/python3/dist-packages").glob("libvirt*") if OTHER else ():
        if file.is_file():
            PACKAGES.mkdir(parents=True, exist_ok=True)
            (PACKAGES / file.name).symlink_to(file)
    run("make", "-C", str(TOP), "install", f"PREFIX={PREFIX}", f"PYTHON={PYTHON}")


@contextmanager
def removed(*paths: Path) -> Iterator[None]:
    """Have some of what is installed not there."""
    kept = {path: path.with_name(f"{path.name}.kept") for path in paths}
    for path, away in kept.items():
        path.rename(away)
    try:
        yield
    finally:
        for path, away in kept.items():
            away.rename(path)


def call(
    operation: str, document: bytes, *, name: str = "lab1", extra: str | None = None, user: int | None = None
) -> Done:
    """Call the hook as libvirtd does and return what it said, once its output is closed by all who hold it.

    `user` calls it as the daemon of that user's session does.
    """
    sub, last = STATIONS.get(operation, ("begin", "-"))
    return subprocess.run(
        (HOOK, name, operation, sub, last if extra is None else extra),
        input=document,
        capture_output=True,
        env=ENVIRONMENT,
        cwd="/",
        umask=0o022,
        timeout=BOUND_SECONDS,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else (),
    )


def opened(operation: str, *, name: str = "lab1") -> subprocess.Popen[bytes]:
    """Start the hook as libvirtd does, and return while it waits for its document."""
    sub, last = STATIONS.get(operation, ("begin", "-"))
    return subprocess.Popen(
        (HOOK, name, operation, sub, last),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd="/",
        umask=0o022,
    )


def command(*arguments: str | bytes, stdin: bytes = b"", module: bool = False, through: Sequence[str] = ()) -> Done:
    """Run `libvirt-vepa`, or the same as a module, as root at a shell would, or `through` another command."""
    before = (PYTHON, "-m", "libvirt_vepa") if module else (COMMAND,)
    return subprocess.run(
        (*through, *before, *arguments),
        input=stdin,
        capture_output=True,
        env={**ENVIRONMENT, "PYTHONPATH": str(PACKAGES)} if module and OTHER else ENVIRONMENT,
        cwd="/",
        timeout=BOUND_SECONDS,
        check=False,
    )


def stored(guest: Guest) -> bytes:
    """Return a guest's XML as libvirt keeps it."""
    return translate.to_stored(guest.xml.encode(), guest.name)


def one_line(done: Done, beginning: str = "libvirt-vepa: ") -> str:
    """Return what was said on stderr, which is one line and ends so, without its beginning; stdout is empty."""
    text = done.stderr.decode()
    assert done.stdout == b"", done.stdout
    assert text.startswith(beginning) and text.endswith("\n") and text.count("\n") == 1, text
    return text.removeprefix(beginning).rstrip("\n")


def state_files() -> list[str]:
    """Return the files that libvirt-vepa keeps."""
    return sorted(str(path.relative_to(STATE)) for path in STATE.rglob("*") if path.is_file())


def define_nic(name: str, device: str, *content: str) -> None:
    """Define a NIC as its administrator would."""
    done = command("iface-define", "-", stdin=definition(name, device, *content).encode())
    assert done.returncode == 0, done.stderr
