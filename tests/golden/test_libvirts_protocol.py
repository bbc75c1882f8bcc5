# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's own description of its protocol: what carries XML is translated, or here is why it is not."""

from __future__ import annotations

import re
from functools import cache

import pytest

from libvirt_vepa.rpc import message as messages
from libvirt_vepa.rpc import procedures as procedures_module
from libvirt_vepa.rpc import xdr
from tests.support import remote_protocol as remote
from tests.support.golden_cases import SHEETS

FOLDER = SHEETS.parent / "build" / "libvirt-protocol"
# The lists of typed parameters that a document may be in.
LISTS = {"REMOTE_DOMAIN_MIGRATE_PARAM_LIST_MAX", "REMOTE_DOMAIN_SAVE_PARAMS_MAX"}
FIELD = re.compile(r"^\s*((?:unsigned )?\w+)\s+(\w+)(?:<(\w+)>)?;", re.MULTILINE)
WORDS = {
    "remote_nonnull_domain": "domain",
    "unsigned hyper": "hyper",
    "unsigned int": "flags",
    "int": "flags",
    "opaque": "string",
    "remote_typed_param": "parameters",
}
PASSES = {
    "(NETWORK|INTERFACE|STORAGE|NODE_DEVICE|SECRET|NWFILTER)_.*": "it describes no guest",
    "CONNECT_FIND_STORAGE_POOL_SOURCES ret": "it describes no guest",
    "CONNECT_(COMPARE|BASELINE)_.*CPU args": "it describes a CPU",
    "DOMAIN_BLOCK_COPY args": "it describes a disk",
    "DOMAIN_BACKUP_BEGIN args": "it describes disks; only a checkpoint that is defined anew has a guest in it",
    "DOMAIN_BACKUP_GET_XML_DESC ret": "it describes disks",
    "DOMAIN_MIGRATE_BEGIN3(_PARAMS)? ret": "the source tells the other host's libvirt",
    "DOMAIN_MIGRATE_(FINISH|CONFIRM)3_PARAMS args": "the client repeats what earlier calls had; nobody reads it",
    "DOMAIN_[GS]ET_METADATA .*": "whoever names the namespace means what is stored",
}


@pytest.fixture(autouse=True)
def protocol_is_here() -> None:
    if not FOLDER.is_dir():
        pytest.skip("libvirt's protocol is not here: tests/lab/prepare check")


@cache
def text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def structs() -> dict[str, list[tuple[str, str, str]]]:
    """Return the fields of each structure: type, name, and what bounds a list."""
    found = re.findall(r"^struct (\w+) \{(.*?)^\};", text("src/remote/remote_protocol.x"), re.DOTALL | re.MULTILINE)
    return {name: FIELD.findall(body) for name, body in found}


@cache
def procedures() -> dict[str, int]:
    found = re.findall(r"REMOTE_PROC_(\w+) = (\d+)", text("src/remote/remote_protocol.x"))
    return {name: int(number) for name, number in found}


def fields(name: str, kind: str) -> list[tuple[str, str, str]]:
    return structs().get(f"remote_{name.lower()}_{kind}", [])


def is_document(kind: str, name: str, bound: str) -> bool:
    return bound in LISTS or ("string" in kind and ("xml" in name.lower() or name == "metadata"))


def words(name: str) -> str:
    """Return the arguments of a procedure in the words of `remote.ARGUMENTS`."""
    found = []
    for kind, field, _ in fields(name, "args"):
        word = "xml" if is_document(kind, field, "") else "string"
        found.append(WORDS.get(kind) or ("" if kind == "remote_nonnull_string" else "?") + word)
    return " ".join(found)


def test_arguments_are_as_libvirt_says() -> None:
    names = {number: name for name, number in procedures().items()}
    ours = {number: re.sub(r":\w+", "", arguments) for number, arguments in (remote.ARGUMENTS | remote.CHANGES).items()}
    assert ours == {number: words(names[number]) for number in ours}


def test_a_reply_begins_with_its_document() -> None:
    names = {number: name for name, number in procedures().items()}
    for number in remote.REPLIES:
        first = fields(names[number], "ret")[0]
        assert first[0] == "remote_nonnull_string" and is_document(*first), names[number]


def test_everything_else_that_is_xml_passes_for_a_reason() -> None:
    used = set()
    for name, number in procedures().items():
        for kind, ours in (("args", remote.ARGUMENTS | remote.CHANGES), ("ret", remote.REPLIES)):
            if number in ours or not any(is_document(*field) for field in fields(name, kind)):
                continue
            reasons = [pattern for pattern in PASSES if re.fullmatch(pattern, f"{name} {kind}")]
            assert len(reasons) == 1, f"{number} {name} {kind}"
            used.update(reasons)
    assert used == set(PASSES)


def test_bounds_and_numbers_are_libvirts() -> None:
    constants = dict(
        re.findall(r"const (\w+) = (\w+);", text("src/remote/remote_protocol.x") + text("src/rpc/virnetprotocol.x"))
    )
    assert int(constants["REMOTE_STRING_MAX"]) == int(constants["REMOTE_MIGRATE_COOKIE_MAX"]) == xdr.STRING_MAX
    assert int(constants["VIR_NET_MESSAGE_MAX"]) + messages.LENGTH_BYTES == messages.MESSAGE_MAX
    assert all(int(constants[name]) < xdr.PARAMETERS_MAX for name in LISTS)
    assert int(constants["REMOTE_PROGRAM"], 16) == procedures_module.PROGRAM


def test_parameters_are_libvirts() -> None:
    kinds = dict(re.findall(r"VIR_TYPED_PARAM_([A-Z]+) *= (\d),", text("include/libvirt/libvirt-common.h.in")))
    assert {int(kind) for kind in kinds.values()} == {*xdr.PARAMETER_BYTES, xdr.PARAMETER_STRING}
    assert int(kinds["STRING"]) == xdr.PARAMETER_STRING
    wide = {int(kinds[name]) for name in ("LLONG", "ULLONG", "DOUBLE")}
    assert {kind for kind, size in xdr.PARAMETER_BYTES.items() if size == xdr.HYPER_BYTES} == wide
    named = re.findall(
        r'define VIR_(?:MIGRATE|DOMAIN_SAVE)_PARAM_\w*XML +"(\w+)"', text("include/libvirt/libvirt-domain.h")
    )
    assert {name.encode() for name in named} == procedures_module.FIELDS
