# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian package on a minimal system of each release: installed, upgraded, removed and purged, by dpkg itself.

There is no init system and no libvirt in there, as in a container; what becomes of running guests is for the
booted hosts.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from libvirt_vepa.version import VERSION
from tests.install.conftest import OURS
from tests.lab.documents import definition
from tests.lab.root import RELEASES, Root, entered, unpack
from tests.lab.shell import run
from tests.support import packages

TOP = Path(__file__).resolve().parents[2]
PACKED = "usr/lib/libvirt-vepa"
HOOK = "/etc/libvirt/hooks/qemu.d/libvirt-vepa"
CLIENTS = "/etc/libvirt/libvirt.conf"
DEFINITION = "/etc/libvirt/vepa/lan.xml"
JOURNAL = "/run/libvirt/vepa/guests/00000000-0000-0000-0000-000000000001.json"
LAN = definition("lan", "eth0")
FOREIGN = "<domain><name>web</name><title>copy of a physical server</title></domain>"
DPKG = (
    "Selecting ",
    "(Reading ",
    "Preparing ",
    "Unpacking ",
    "Setting up ",
    "Removing ",
    "Purging ",
)
SAID_YES = "libvirt-vepa libvirt-vepa/remove-definitions boolean true"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.deb(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same package as a later version, with another hook and a much larger program."""
    tree = tmp_path_factory.mktemp("newer") / "tree"
    run("dpkg-deb", "-R", str(package), str(tree))
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {VERSION}-1", f"Version: {VERSION}-2"))
    with (tree / PACKED / "qemu.d/libvirt-vepa").open("a") as file:
        file.write("# A later version.\n")
    (tree / "usr/share/libvirt-vepa/large").write_bytes(bytes(8 << 20))
    run("dpkg-deb", "-b", "-Znone", str(tree), str(tree.parent / "newer.deb"))
    return tree.parent / "newer.deb"


@pytest.fixture(scope="module", params=RELEASES)
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Unpack a release, with a user `alice`."""
    folder = tmp_path_factory.mktemp(request.param)
    unpack(request.param, folder)
    run("chroot", str(folder), "useradd", "-m", "alice")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def root(system: Path, tmp_path: Path) -> Iterator[Root]:
    with entered(system, tmp_path) as root:
        yield root


def put(root: Root, path: str, text: str) -> None:
    root.file(path).parent.mkdir(parents=True, exist_ok=True)
    root.file(path).write_text(text)


def install(root: Root, package: Path) -> str:
    """Install as dpkg does for apt where nobody can be asked; return what was said."""
    shutil.copy(package, root.file("/tmp/new.deb"))
    said = root.done("dpkg", "-i", "/tmp/new.deb")
    root.file("/tmp/new.deb").unlink()
    return said


def scripts_said(text: str) -> list[str]:
    """Return what is said that is not dpkg's own account."""
    return [line for line in text.splitlines() if not line.startswith(DPKG)]


def hook(root: Root, operation: str, document: str) -> tuple[int, str, str]:
    ended = root.run(HOOK, "web", operation, "begin", "-", stdin=document)
    return ended.returncode, ended.stdout, ended.stderr


def leftovers(root: Root) -> set[str]:
    return root.files("*vepa*") - {"/home/alice/.config/libvirt/libvirt-vepa-connect"}


def test_a_clean_install_works_at_once_and_says_nothing(root: Root, package: Path) -> None:
    assert scripts_said(install(root, package)) == []
    assert root.done("libvirt-vepa", "--version") == f"libvirt-vepa {VERSION}\n"
    assert root.done("libvirt-vepad", "--version") == f"libvirt-vepad {VERSION}\n"
    assert root.done("dpkg", "--audit") == "" and root.done("dpkg", "--verify", "libvirt-vepa") == ""
    assert hook(root, "prepare", FOREIGN) == (0, "", "")
    status, translated, said = hook(root, "migrate", OURS)
    assert (status, said) == (0, "") and "urn:libvirt-vepa:physical:1" in translated


def test_a_hook_of_somebody_elses_is_left_alone(root: Root, package: Path) -> None:
    put(root, HOOK, "#!/bin/sh\n")
    shutil.copy(package, root.file("/tmp/new.deb"))
    ended = root.run("dpkg", "-i", "/tmp/new.deb")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[0] == (
        f"{HOOK} is not from libvirt-vepa; give it another name, and install libvirt-vepa then"
    )
    assert root.file(HOOK).read_text() == "#!/bin/sh\n"
    assert not root.file("/usr/bin/libvirt-vepa").exists()


def test_the_hook_of_make_install_makes_way(root: Root, package: Path) -> None:
    put(root, HOOK, (TOP / "hooks/qemu").read_text() + "# of another version\n")
    install(root, package)
    assert "of another version" not in root.file(HOOK).read_text()


def test_an_upgrade_loses_nothing(root: Root, package: Path, newer: Path) -> None:
    install(root, package)
    root.done("libvirt-vepa", "enable")
    root.done("libvirt-vepa", "iface-define", "-", stdin=LAN)
    put(root, JOURNAL, "{}")
    shutil.copy(newer, root.file("/tmp/newer.deb"))
    before = {path: root.file(path).read_bytes() for path in (CLIENTS, DEFINITION, JOURNAL)}
    root.done("dpkg", "--unpack", "/tmp/newer.deb")
    # libvirt would run whatever stands beside the hook.
    assert [path.name for path in root.file(HOOK).parent.iterdir()] == ["libvirt-vepa"]
    root.done("dpkg", "--configure", "-a")
    assert {path: root.file(path).read_bytes() for path in before} == before
    assert root.file(HOOK).read_text().endswith("# A later version.\n")


def test_a_full_disk_stops_an_upgrade_and_nothing_else(
    system: Path, tmp_path: Path, package: Path, newer: Path
) -> None:
    with entered(system, tmp_path, "32m") as root:
        install(root, package)
        shutil.copy(newer, root.file("/tmp/new.deb"))
        with root.file("/tmp/filler").open("wb") as filler:
            # One of the files of the package, and what dpkg writes of it, still fits; the large one does not.
            filler.write(bytes(shutil.disk_usage(root.path).free - (2 << 20)))
        ended = root.run("dpkg", "-i", "/tmp/new.deb")
        assert ended.returncode == 1 and "No space left on device" in ended.stderr
        assert root.done("libvirt-vepa", "--version") == f"libvirt-vepa {VERSION}\n"
        assert hook(root, "prepare", FOREIGN) == (0, "", "") and hook(root, "migrate", OURS)[0] == 0
        root.file("/tmp/filler").unlink()
        root.done("dpkg", "-i", "/tmp/new.deb")
        assert root.done("dpkg", "--audit") == ""


def test_removal_gives_back_roots_virsh_and_names_the_users(root: Root, package: Path) -> None:
    put(root, CLIENTS, "# a person's own words\n")
    install(root, package)
    root.done("libvirt-vepa", "enable")
    root.done("su", "alice", "-c", "libvirt-vepa enable --system")
    root.done("libvirt-vepa", "iface-define", "-", stdin=LAN)
    said = scripts_said(root.done("dpkg", "-r", "libvirt-vepa"))
    assert root.file(CLIENTS).read_text() == "# a person's own words\n"
    assert [line for line in said if line.startswith("/home/alice/.config/libvirt/libvirt.conf names ")] == said[-1:]
    assert root.file(DEFINITION).exists()


def test_a_hook_that_somebody_puts_in_our_place_stays(root: Root, package: Path, newer: Path) -> None:
    install(root, package)
    put(root, HOOK, "#!/bin/sh\n")
    said = scripts_said(install(root, newer))
    assert said == [f"{HOOK} is not from libvirt-vepa; give it another name, and run 'dpkg-reconfigure libvirt-vepa'"]
    root.done("dpkg", "-P", "libvirt-vepa")
    assert root.file(HOOK).read_text() == "#!/bin/sh\n"


def test_removal_keeps_what_a_person_changed_after_enable(root: Root, package: Path) -> None:
    put(root, CLIENTS, "")
    install(root, package)
    root.done("libvirt-vepa", "enable")
    with root.file(CLIENTS).open("a") as file:
        file.write("remote_mode = 'legacy'\n")
    root.done("dpkg", "-r", "libvirt-vepa")
    assert root.file(CLIENTS).read_text() == "remote_mode = 'legacy'\n"


def test_removal_of_what_nobody_used_says_nothing(root: Root, package: Path) -> None:
    install(root, package)
    assert scripts_said(root.done("dpkg", "-r", "libvirt-vepa")) == []


@pytest.mark.parametrize("operation", ["prepare", "migrate", "restore"])
def test_the_hook_that_is_left_stops_our_guests_only(root: Root, package: Path, operation: str) -> None:
    install(root, package)
    stored = hook(root, "migrate", OURS)[1]
    root.done("dpkg", "-r", "libvirt-vepa")
    # It may go with the last package that needs it.
    root.file("/usr/bin/python3").unlink()
    assert hook(root, operation, FOREIGN) == (0, "", "")
    told = "libvirt-vepa: guest 'web' has a physical interface, and libvirt-vepa is removed; install it again\n"
    for document in (OURS, stored):
        assert hook(root, operation, document) == (1, "", told)
        assert hook(root, "reconnect", document) == (0, "", "")


def test_what_was_removed_can_be_installed_again(root: Root, package: Path, newer: Path) -> None:
    install(root, package)
    root.done("libvirt-vepa", "iface-define", "-", stdin=LAN)
    put(root, JOURNAL, "{}")
    root.done("dpkg", "-r", "libvirt-vepa")
    # It is told that libvirt cannot be asked which guests have ended since.
    assert len(scripts_said(install(root, newer))) == 1 and root.file(JOURNAL).exists()
    assert "lan" in root.done("libvirt-vepa", "iface-list")
    assert root.file(HOOK).read_text().endswith("# A later version.\n")


def test_a_purge_keeps_what_a_person_wrote(root: Root, package: Path) -> None:
    install(root, package)
    root.done("libvirt-vepa", "iface-define", "-", stdin=LAN)
    put(root, "/run/libvirt/vepa/locks/nic", "")
    root.done("dpkg", "-P", "libvirt-vepa")
    assert leftovers(root) == {"/etc/libvirt/vepa"} and root.file(DEFINITION).exists()


def test_a_purge_removes_it_where_a_person_said_so(root: Root, package: Path) -> None:
    install(root, package)
    root.done("libvirt-vepa", "iface-define", "-", stdin=LAN)
    root.done("debconf-set-selections", stdin=SAID_YES)
    root.done("dpkg", "-P", "libvirt-vepa")
    assert leftovers(root) == set()


def test_a_purge_keeps_what_running_guests_have(root: Root, package: Path) -> None:
    install(root, package)
    put(root, JOURNAL, "{}")
    said = scripts_said(root.done("dpkg", "-P", "libvirt-vepa"))
    assert said == ["/run/libvirt/vepa says what running guests have of this host, and stays until the next boot"]
    assert root.file(JOURNAL).exists()


def test_debians_own_check_finds_nothing(package: Path) -> None:
    done = run("lintian", "--fail-on=error,warning", "--allow-root", str(package), check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_dependencies_are_those_of_setup_cfg(package: Path) -> None:
    depends = run("dpkg-deb", "-f", str(package), "Depends").stdout
    assert {"python3-lxml", "python3-pyroute2", "python3-libvirt"} <= set(depends.strip().split(", "))
