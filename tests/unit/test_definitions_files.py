# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Definitions as files: one a name, whole or not at all, and a damaged one hides no other."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from libvirt_vepa.errors import HostError, XmlError
from libvirt_vepa.lifecycle import define as define_module
from libvirt_vepa.model.interface import HostType, Mode, NicDefinition
from libvirt_vepa.store import definitions
from libvirt_vepa.store.store import Store
from libvirt_vepa.xml import definition
from tests.support.refusals import refusal

LAN = NicDefinition("lan", "eth0", HostType.ETHERNET)
WAN = NicDefinition("wan", "eth1", HostType.VMDQ, (Mode.BRIDGE,))
UNKNOWN = (
    "no physical interface 'lan' is defined on this host; "
    "see 'libvirt-vepa iface-list', and define it with 'libvirt-vepa iface-define'"
)
HOSTILE = ("../x", "a/b", "$(x)", "a\nb", "", ".", "..", ".lan")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for definitions that is not there yet."""
    return tmp_path / "vepa"


def define_text(text: bytes, folder: Path) -> NicDefinition:
    return define_module.define(text, "f.xml", Store(folder / "../state"), folder)


def define(host: NicDefinition, folder: Path) -> NicDefinition:
    return define_text(definition.write(host), folder)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_defined_is_found_again(folder: Path) -> None:
    assert define(WAN, folder) == WAN
    define(LAN, folder)
    assert definitions.load("wan", folder) == WAN
    assert definitions.load_all(folder) == (("lan", LAN), ("wan", WAN))
    assert definitions.dump("lan", folder) == definition.write(LAN)
    assert files(folder) == ["lan.xml", "wan.xml"]


def test_the_proposals_spelling_is_kept_in_the_canonical_one(folder: Path) -> None:
    text = b"<interface type='physical' name='lan'/>\n<source dev='eth0'/>\n<type='ethernet'/> // yes\n</interface>"
    define_text(text, folder)
    assert (folder / "lan.xml").read_bytes() == definition.write(LAN)


def test_a_definition_takes_the_place_of_the_earlier_one(folder: Path) -> None:
    define(LAN, folder)
    other = NicDefinition("lan", "eth7", HostType.SRIOV)
    define(other, folder)
    assert definitions.load_all(folder) == (("lan", other),)


def test_one_that_cannot_be_read_leaves_the_earlier_one(folder: Path) -> None:
    define(LAN, folder)
    text = definition.write(LAN).replace(b"ethernet", b"odd")
    assert "unknown type 'odd'" in refusal(define_text, text, folder, kind=XmlError)
    assert definitions.load("lan", folder) == LAN
    assert files(folder) == ["lan.xml"]


def test_a_failed_write_leaves_the_earlier_definition(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    define(LAN, folder)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    text = definition.write(NicDefinition("lan", "eth7", HostType.ETHERNET))
    assert refusal(define_text, text, folder, kind=HostError) == (
        f"cannot write {folder}/lan.xml: No space left on device; make room on the file system"
    )
    assert definitions.load("lan", folder) == LAN
    assert files(folder) == ["lan.xml"]


def test_a_folder_that_is_none_is_told(folder: Path) -> None:
    folder.write_text("")
    for call in (lambda: define(LAN, folder), lambda: definitions.load("lan", folder)):
        assert refusal(call, kind=HostError).endswith("see that the path is right and the file system is in order")
    assert refusal(definitions.load_all, folder, kind=HostError).startswith(f"cannot read {folder}: ")


def test_undefining_takes_the_file_away_damaged_or_not(folder: Path) -> None:
    define(WAN, folder)
    (folder / "lan.xml").parent.mkdir(exist_ok=True)
    (folder / "lan.xml").write_text("damaged")
    definitions.undefine("lan", folder)
    assert files(folder) == ["wan.xml"]


@pytest.mark.parametrize("call", [definitions.load, definitions.dump, definitions.undefine])
def test_a_name_that_is_not_defined_is_told(call: Callable[[str, Path], object], folder: Path) -> None:
    assert refusal(call, "lan", folder, kind=HostError) == UNKNOWN
    folder.mkdir()
    assert refusal(call, "lan", folder, kind=HostError) == UNKNOWN


@pytest.mark.parametrize("call", [definitions.load, definitions.dump, definitions.undefine])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_goes_nowhere(call: Callable[[str, Path], object], name: str, folder: Path) -> None:
    folder.mkdir()
    (folder.parent / "x.xml").write_bytes(definition.write(LAN))
    assert "cannot be the name of a physical interface" in refusal(call, name, folder, kind=XmlError)
    assert (folder.parent / "x.xml").exists()


def test_no_folder_means_no_definitions(folder: Path) -> None:
    assert definitions.load_all(folder) == ()


def test_a_damaged_file_is_told_and_hides_no_other(folder: Path) -> None:
    define(WAN, folder)
    (folder / "lan.xml").write_text("<interface type='physical' name='lan'>\n<sou")
    (name, error), other = definitions.load_all(folder)
    assert name == "lan" and other == ("wan", WAN)
    assert str(error).startswith(f"{folder}/lan.xml, line 2: not well-formed XML: ")
    assert str(error) == refusal(definitions.load, "lan", folder, kind=XmlError)


def test_a_file_that_defines_another_name_is_damaged(folder: Path) -> None:
    define(LAN, folder)
    (folder / "copy.xml").write_bytes(definition.write(LAN))
    (name, error), other = definitions.load_all(folder)
    assert name == "copy" and other == ("lan", LAN)
    assert str(error) == (f"{folder}/copy.xml: the file defines 'lan'; rename one of the two, or define 'copy' anew")


def test_a_file_with_a_hostile_name_is_told(folder: Path) -> None:
    folder.mkdir()
    (folder / "a b\n.xml").write_bytes(definition.write(LAN))
    ((_, error),) = definitions.load_all(folder)
    assert str(error).startswith(r"'a b\n' cannot be the name of a physical interface; ")


def test_beginnings_backups_and_folders_are_nobodys_definitions(folder: Path) -> None:
    define(LAN, folder)
    for name in (".lan.xml.tmp-1", ".hidden.xml", "lan.xml~", "lan.xml.bak", "README"):
        (folder / name).write_text("<half")
    (folder / "sub.xml").mkdir()
    assert definitions.load_all(folder) == (("lan", LAN),)


def test_a_file_that_is_too_large_is_told(folder: Path) -> None:
    folder.mkdir()
    with open(folder / "lan.xml", "wb") as file:
        file.truncate(50 * 1024 * 1024)
    assert "lan.xml: the document is larger than 4 MiB" in refusal(definitions.load, "lan", folder, kind=XmlError)
