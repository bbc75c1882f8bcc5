# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An ordinary user's own daemon, through the connection: started where none runs, as libvirt's own client does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.daemon import Daemon, end
from tests.lab.guest import Guest
from tests.lab.shell import run
from tests.support.user import USER
from tests.support.via_proxy import BOTH, URI, squeezed

HOME = Path("/run/somebody")
RUNTIME = Path(f"/run/user/{USER}")
PLAIN, OURS = (uri.replace("/system", "/session") for uri in BOTH)
RIGHTS = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-i", f"HOME={HOME}")
CLIENTS = 6


@dataclass(frozen=True)
class User:
    """Somebody whose clients have these variables, by which their daemon has its files in a folder."""

    variables: tuple[str, ...]
    folder: Path

    def command(self, *arguments: str, uri: str = OURS) -> tuple[str, ...]:
        return (*RIGHTS, f"PATH={os.environ['PATH']}", *self.variables, "virsh", "-q", "-c", uri, *arguments)

    def virsh(self, *arguments: str, uri: str = OURS) -> subprocess.CompletedProcess[str]:
        return run(*self.command(*arguments, uri=uri), check=False)

    def daemons(self) -> set[int]:
        found = run("pgrep", "-u", str(USER), "libvirtd", check=False).stdout.split()
        return {int(pid) for pid in found}


KINDS = {
    "runtime": User((f"XDG_RUNTIME_DIR={RUNTIME}",), RUNTIME / "libvirt"),
    "elsewhere": User((f"XDG_RUNTIME_DIR={HOME}/own",), HOME / "own/libvirt"),
    "none": User((), HOME / ".cache/libvirt"),
    "cache": User((f"XDG_CACHE_HOME={HOME}/c",), HOME / "c/libvirt"),
}


@pytest.fixture(params=KINDS)
def user(request: pytest.FixtureRequest, libvirtd: Daemon) -> Iterator[User]:
    found = KINDS[request.param]
    # What is usual is there even where the user's variables name another.
    for folder in (HOME, RUNTIME, HOME / "own"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(folder, USER, USER)
    yield found
    for pid in found.daemons():
        end(pid)
    shutil.rmtree(HOME)
    shutil.rmtree(RUNTIME)


def test_the_first_client_starts_it(user: User) -> None:
    guest = Guest(1)
    guest.ask("vepa")
    file = HOME / "guest.xml"
    file.write_text(guest.xml)
    done = user.virsh(f"define {file}; dumpxml {guest.name}")
    assert done.stderr == "" and "<interface type='physical'><name>lan</name>" in squeezed(done.stdout)
    (pid,) = user.daemons()
    assert (user.folder / "libvirt-sock").is_socket()
    # It is the one that libvirt's own client finds.
    assert guest.name in user.virsh("list", "--all", uri=PLAIN).stdout
    assert user.daemons() == {pid}
    assert "--timeout" in Path(f"/proc/{pid}/cmdline").read_text()
    user.virsh("undefine", guest.name)


def test_one_that_runs_is_used(user: User) -> None:
    user.virsh("uri", uri=PLAIN)
    before = user.daemons()
    assert user.virsh("list").returncode == 0
    assert user.daemons() == before != set()


@pytest.mark.parametrize("user", ["runtime"], indirect=True)
def test_several_clients_at_once_start_one(user: User) -> None:
    uris = [OURS, PLAIN] * (CLIENTS // 2)
    clients = [subprocess.Popen(user.command("list", uri=uri), stderr=subprocess.PIPE) for uri in uris]
    assert [client.communicate(timeout=60)[1] for client in clients] == [b""] * CLIENTS
    assert len(user.daemons()) == 1


@pytest.mark.parametrize("user", ["runtime"], indirect=True)
@pytest.mark.parametrize("variable", ["LIBVIRT_AUTOSTART=0", "LIBVIRTD_PATH=/nowhere/libvirtd"])
def test_one_that_cannot_be_started_is_told_of(user: User, variable: str) -> None:
    wanting = User((*user.variables, variable), user.folder)
    assert wanting.virsh("list", uri=PLAIN).returncode == 1
    done = wanting.virsh("list")
    assert done.returncode == 1 and not user.daemons()
    assert "cannot start a daemon of your own: " in done.stderr
    assert "; see what 'virsh -c qemu:///session uri' says" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("user", ["runtime"], indirect=True)
def test_the_systems_daemon_is_not_started_for_a_user(user: User, libvirtd: Daemon) -> None:
    done = user.virsh("list", uri=URI)
    assert "the daemon refuses this user" in done.stderr
    assert not user.daemons()
