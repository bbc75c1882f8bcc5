# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`enable` and `disable`, as processes of root and of an ordinary user: what becomes of the file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support.user import CONNECTION, Person

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
    uri = person.ours()
    said = person.said("enable", module=module)
    assert said == [f"{person.file} is new", f"{person.file} now has the default URI {uri}", person.runs]
    assert person.file.read_text() == f'uri_default = "{uri}"\n'
    before = [status(path) for path in (person.file, person.launcher)]
    assert [each[:3] for each in before] == [(mode, person.uid, person.uid) for mode in (0o644, 0o755)]
    said = person.said("enable", module=module)
    assert said == [f"{person.file} already has the default URI {uri}", person.runs]
    assert [status(path) for path in (person.file, person.launcher)] == before
    assert person.files == {"libvirt.conf", "libvirt-vepa-connect"}
    said = person.said("disable", module=module)
    assert said == [f"{person.file} is removed", f"{person.launcher} is removed"]
    assert person.files == set()
    already = [f"{person.file} already does without libvirt-vepa-connect"]
    assert person.said("disable", module=module) == already and person.files == set()


@pytest.mark.parametrize("text", [OTHERS, OTHERS.rstrip(), b""], ids=["comments", "no-last-newline", "empty"])
def test_the_rest_of_a_file_stays(person: Person, text: bytes) -> None:
    person.has(text)
    before = status(person.file)[:3]
    assert f"{person.file} as it was is kept as {person.saved}" in person.said("enable")
    added = f'uri_default = "{person.ours()}"\n'.encode()
    enabled = person.file.read_bytes()
    assert enabled == text + (b"\n" if text and not text.endswith(b"\n") else b"") + added
    assert person.saved.read_bytes() == text
    assert status(person.file)[:3] == status(person.saved)[:3] == before == (0o640, person.uid, person.uid)
    kept = status(person.saved)
    assert " already has " in person.said("enable")[0]
    assert (person.file.read_bytes(), status(person.saved)) == (enabled, kept)
    removed = [f"{path} is removed" for path in (person.saved, person.launcher)]
    assert person.said("disable") == [f"{person.file} is as it was before", *removed]
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
    assert person.file.read_bytes() == OTHERS + line.replace("URI", person.ours(kind)).encode()
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
    assert person.said("disable")[0].endswith("; the rest stays as it is")
    assert person.file.read_bytes() == after and status(person.file)[:3] == (0o600, person.uid, person.uid)
    assert person.files == {"libvirt.conf"}


def test_who_takes_the_line_out_alone_is_not_overruled(person: Person) -> None:
    person.has(b'uri_default = "qemu:///system"\n')
    person.said("enable")
    person.has(b"# another\n")
    said = person.said("disable")
    removed = [f"{path} is removed" for path in (person.saved, person.launcher)]
    assert said == [f"{person.file} already does without libvirt-vepa-connect", *removed]
    assert person.file.read_bytes() == b"# another\n" and person.files == {"libvirt.conf"}
    person.said("enable")
    person.has(b"# a third\n")
    # What is kept is what this call has changed, not what an earlier one had.
    person.said("enable")
    assert person.saved.read_bytes() == b"# a third\n"
    person.file.unlink()
    person.said("enable")
    assert person.files == {"libvirt.conf", "libvirt-vepa-connect"}


def test_who_says_more_in_the_uri_keeps_all_that_belongs_to_it(person: Person) -> None:
    person.has(OTHERS)
    person.said("enable")
    uri = f"{person.ours()}&mode=direct"
    person.has(person.file.read_bytes().replace(person.ours().encode(), uri.encode()))
    text, files = person.file.read_bytes(), person.files
    said = f"{person.file} has the default URI {uri}, which enable has not set; all stays as it is"
    assert person.said("disable") == [said]
    assert (person.file.read_bytes(), person.files) == (text, files)


def test_the_copy_of_a_file_that_somebody_removed_stays(person: Person) -> None:
    person.has(OTHERS)
    person.said("enable")
    person.file.unlink()
    gone = f"{person.file} is gone; as it was before is in {person.saved}"
    assert person.said("disable") == [gone, f"{person.launcher} is removed"]
    assert person.saved.read_bytes() == OTHERS and person.files == {person.saved.name}
    person.saved.unlink()


@pytest.mark.parametrize("named", [CONNECTION, "/usr/local/bin/libvirt-vepa-connect"], ids=["older", "another"])
def test_a_program_that_is_named_itself_gets_a_launcher(person: Person, named: str) -> None:
    person.has(b"# a\n")
    person.said("enable")
    person.has(person.file.read_bytes().replace(os.fsencode(person.launcher), named.encode()))
    person.launcher.unlink()
    assert person.said("enable") == [f"{person.file} now has the default URI {person.ours()}", person.runs]
    assert person.saved.read_bytes() == b"# a\n"
    person.has(person.file.read_bytes().replace(os.fsencode(person.launcher), named.encode()))
    person.said("disable")
    assert person.file.read_bytes() == b"# a\n" and person.files == {"libvirt.conf"}


@pytest.mark.parametrize("change", ["missing", "other-program", "not-executable"])
def test_a_launcher_that_would_not_run_is_written_again(person: Person, change: str) -> None:
    person.said("enable")
    text = person.launcher.read_bytes()
    if change == "missing":
        person.launcher.unlink()
    elif change == "other-program":
        person.launcher.write_bytes(text.replace(CONNECTION.encode(), b"/usr/local/bin/libvirt-vepa-connect"))
    else:
        person.launcher.chmod(0o644)
    assert person.said("enable") == [f"{person.file} already has the default URI {person.ours()}", person.runs]
    assert person.launcher.read_bytes() == text and status(person.launcher)[0] == 0o755


@pytest.mark.parametrize("signs", ["", "a b'c\"&%\u00fc"], ids=["plain", "signs"])
def test_a_launcher_that_somebody_names_elsewhere_stays(user: Person, signs: str) -> None:
    folder = user.file.parents[2] / f"other{signs}"
    file, path = folder / "libvirt/libvirt.conf", folder / "libvirt/libvirt-vepa-connect"
    user.said("enable", f"XDG_CONFIG_HOME={folder}")
    alias = file.read_bytes().replace(b"uri_default = ", b"uri_aliases = [ ").replace(b'"qemu', b'"x=qemu')
    file.write_bytes(file.read_bytes() + alias.rstrip() + b" ]\n")
    said = user.said("disable", f"XDG_CONFIG_HOME={folder}")
    assert said[1:] == [f"{path} stays, because {file} names it"] and path.exists()


def test_the_daemon_is_the_one_that_is_set_or_asked_for(person: Person) -> None:
    other = {"system": "session", "session": "system"}[person.kind]
    person.has(b"# a\n")
    person.said(f"enable --{other}")
    assert person.file.read_text() == f'# a\nuri_default = "{person.ours(other)}"\n'
    assert f"qemu:///{other}\n" in person.launcher.read_text()
    assert person.said("enable") == [f"{person.file} already has the default URI {person.ours(other)}", person.runs]
    person.said(f"enable --{person.kind}")
    assert person.file.read_text() == f'# a\nuri_default = "{person.ours()}"\n'
    assert f"qemu:///{person.kind}\n" in person.launcher.read_text()
    assert person.saved.read_bytes() == b"# a\n"
    person.said("disable")
    assert person.file.read_bytes() == b"# a\n" and person.files == {"libvirt.conf"}


def test_a_plain_uri_is_put_back_whatever_was_asked_for(person: Person) -> None:
    other = {"system": "session", "session": "system"}[person.kind]
    text = f'uri_default = "qemu:///{other}"\n'.encode()
    person.has(text)
    person.said(f"enable --{person.kind}")
    assert person.file.read_text() == f'uri_default = "{person.ours()}"\n'
    person.said("disable")
    assert person.file.read_bytes() == text


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
    assert len(person.said("enable", "LIBVIRT_DEFAULT_URI=")) == 3
    for name in ("LIBVIRT_DEFAULT_URI", "VIRSH_DEFAULT_CONNECT_URI"):
        said = person.said("enable", f"{name}=qemu:///system")
        assert said[2:] == [f"{name} is set to 'qemu:///system' here and overrides this file; unset it"]
    assert len(person.said("enable", f"LIBVIRT_DEFAULT_URI={person.ours()}")) == 2
