# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`enable` and `disable`, as processes of root and of an ordinary user: what becomes of the file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.lab.person import CONNECTION, Person, ours

OTHERS = b"""\
# uri_default = "qemu:///session"
uri_aliases = [
  "hail=qemu+ssh://root@hail.example.com/system",
  'x=uri_default = "test:///default"',
]
#uri_default = "qemu:///system"
"""


def status(path: Path) -> tuple[int, int, int, int, int]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_ino, found.st_mtime_ns


@pytest.mark.parametrize("module", [False, True], ids=["command", "module"])
def test_a_new_file_comes_and_goes(person: Person, module: bool) -> None:
    uri = ours(person.kind)
    said = person.said("enable", module=module)
    assert said == f"{person.file} is new\n{person.file} now has the default URI {uri}\n"
    assert person.file.read_text() == f'uri_default = "{uri}"\n'
    before = status(person.file)
    assert before[:3] == (0o644, person.uid, person.uid)
    assert person.said("enable", module=module) == f"{person.file} already has the default URI {uri}\n"
    assert status(person.file) == before and person.files == {"libvirt.conf"}
    assert person.said("disable", module=module) == f"{person.file} is removed\n"
    assert person.files == set()
    already = f"{person.file} already does without libvirt-vepa-connect\n"
    assert person.said("disable", module=module) == already and person.files == set()


@pytest.mark.parametrize("text", [OTHERS, OTHERS.rstrip(), b""], ids=["comments", "no-last-newline", "empty"])
def test_the_rest_of_a_file_stays(person: Person, text: bytes) -> None:
    person.has(text)
    before = status(person.file)[:3]
    assert f"is kept as {person.saved}\n" in person.said("enable")
    added = f'uri_default = "{ours(person.kind)}"\n'.encode()
    enabled = person.file.read_bytes()
    assert enabled == text + (b"\n" if text and not text.endswith(b"\n") else b"") + added
    assert person.saved.read_bytes() == text
    assert status(person.file)[:3] == status(person.saved)[:3] == before == (0o640, person.uid, person.uid)
    kept = status(person.saved)
    assert " already has " in person.said("enable")
    assert (person.file.read_bytes(), status(person.saved)) == (enabled, kept)
    assert person.said("disable") == f"{person.file} is as it was before\n{person.saved} is removed\n"
    assert person.file.read_bytes() == text and status(person.file)[:3] == before
    assert person.files == {"libvirt.conf"}


@pytest.mark.parametrize("kind", ["system", "session"])
@pytest.mark.parametrize(
    "line",
    [
        'uri_default = "URI"\n',
        "  uri_default='URI'\r\n",
        'my_uri_default = 1; uri_default =\t"""URI"""; last = "#" # mine',
    ],
    ids=["plain", "single-quotes", "among-others"],
)
def test_a_plain_uri_becomes_ours(person: Person, line: str, kind: str) -> None:
    text = OTHERS + line.replace("URI", f"qemu:///{kind}").encode()
    person.has(text)
    person.said("enable")
    assert person.file.read_bytes() == OTHERS + line.replace("URI", ours(kind)).encode()
    assert person.saved.read_bytes() == text
    person.said("disable")
    assert person.file.read_bytes() == text and person.files == {"libvirt.conf"}


@pytest.mark.parametrize(
    ("before", "edit", "after"),
    [
        (
            b'uri_default = "qemu:///system"\n',
            (b"\n", b" # mine\nx = 1\n"),
            b'uri_default = "qemu:///system" # mine\nx = 1\n',
        ),
        (b"# a\n", (b"# a\n", b"# b\n"), b"# b\n"),
        (b"# a\n", (b"uri_default", b"x = 1; uri_default"), b"# a\nx = 1; \n"),
        (b"# a\n", (b"uri_default", b"\turi_default"), b"# a\n"),
        (None, (b"uri_default", b"# b\nuri_default"), b"# b\n"),
        (None, (b'connect"\n', b'connect"; x = 1\n'), b"x = 1\n"),
        (None, (b'connect"\n', b'connect" # b'), b"# b"),
    ],
)
def test_what_was_changed_in_between_stays(
    person: Person, before: bytes | None, edit: tuple[bytes, bytes], after: bytes
) -> None:
    if before is not None:
        person.has(before)
    person.said("enable")
    enabled = person.file.read_bytes()
    person.has(enabled.replace(*edit), 0o600)
    assert person.file.read_bytes() != enabled
    assert "; the rest stays as it is\n" in person.said("disable")
    assert person.file.read_bytes() == after and status(person.file)[:3] == (0o600, person.uid, person.uid)
    assert person.files == {"libvirt.conf"}


def test_who_takes_the_line_out_alone_is_not_overruled(person: Person) -> None:
    person.has(b'uri_default = "qemu:///system"\n')
    person.said("enable")
    person.has(b"# another\n")
    said = person.said("disable")
    assert said == f"{person.file} already does without libvirt-vepa-connect\n{person.saved} is removed\n"
    assert person.file.read_bytes() == b"# another\n" and person.files == {"libvirt.conf"}
    person.said("enable")
    person.has(b"# a third\n")
    # What is kept is what this call has changed, not what an earlier one had.
    person.said("enable")
    assert person.saved.read_bytes() == b"# a third\n"
    person.file.unlink()
    person.said("enable")
    assert person.files == {"libvirt.conf"}


def test_another_installation_takes_over(person: Person) -> None:
    person.has(b"# a\n")
    person.said("enable")
    other = person.file.read_bytes().replace(CONNECTION.encode(), b"/usr/local/bin/libvirt-vepa-connect")
    person.has(other)
    assert person.said("enable") == f"{person.file} now has the default URI {ours(person.kind)}\n"
    assert person.saved.read_bytes() == b"# a\n"
    person.said("disable")
    assert person.file.read_bytes() == b"# a\n"


def test_a_link_stays_one(person: Person) -> None:
    target = person.file.with_name("elsewhere")
    person.has(OTHERS)
    person.file.rename(target)
    person.file.symlink_to("elsewhere")
    person.said("enable")
    assert person.file.is_symlink() and b"qemu+ext" in target.read_bytes()
    person.said("disable")
    assert person.file.is_symlink() and target.read_bytes() == OTHERS
    target.unlink()


def test_a_variable_that_wins_is_told(person: Person) -> None:
    assert person.said("enable", "LIBVIRT_DEFAULT_URI=").count("\n") == 2
    for name in ("LIBVIRT_DEFAULT_URI", "VIRSH_DEFAULT_CONNECT_URI"):
        said = person.said("enable", f"{name}=qemu:///system").splitlines()
        assert said[1:] == [f"{name} is set to 'qemu:///system' here, and wins; unset it"]
    assert person.said("enable", f"LIBVIRT_DEFAULT_URI={ours(person.kind)}").count("\n") == 1
