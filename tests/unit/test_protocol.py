# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where in libvirt's messages a document stands, compared with what remote_protocol.x says."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libvirt_vepa.errors import ProtocolError
from libvirt_vepa.rpc import procedures, xdr
from tests.support import remote_protocol as remote
from tests.support.properties import holds
from tests.support.refusals import refusal

PROCEDURES = st.sampled_from(sorted(remote.ARGUMENTS))
TEXTS = st.binary(max_size=30)
# Type and value of a typed parameter that is no string.
NUMBERS = st.one_of(
    st.tuples(st.sampled_from([1, 2, 6]), st.binary(min_size=4, max_size=4)),
    st.tuples(st.sampled_from([3, 4, 5]), st.binary(min_size=8, max_size=8)),
)
STRINGS = st.tuples(st.just(7), TEXTS.map(remote.string))
PARAMETERS = st.lists(st.tuples(TEXTS, st.one_of(NUMBERS, STRINGS)), max_size=8)


def test_the_tables_name_the_same_procedures() -> None:
    assert set(procedures.CALLS) == set(remote.ARGUMENTS)
    assert set(procedures.REPLIES) == remote.REPLIES
    assert (procedures.PROGRAM, procedures.VERSION) == (remote.PROGRAM, 1)


@holds
@given(PROCEDURES, TEXTS, TEXTS)
def test_a_document_is_found_where_it_was_put(procedure: int, document: bytes, text: bytes) -> None:
    before, payload = remote.arguments(procedure, document, text)
    assert procedures.documents_at(procedures.CALLS[procedure], payload) == (len(before),)
    assert xdr.string_at(payload, len(before)) == document


@pytest.mark.parametrize("procedure", remote.OPTIONAL)
def test_a_document_may_be_missing(procedure: int) -> None:
    assert procedures.documents_at(procedures.CALLS[procedure], remote.arguments(procedure, None)[1]) == ()


@holds
@given(PROCEDURES, TEXTS, st.data())
def test_arguments_that_end_before_the_document_are_refused(procedure: int, text: bytes, data: st.DataObject) -> None:
    before, payload = remote.arguments(procedure, b"<a/>", text)
    short = payload[: data.draw(st.integers(0, len(before) + 3))]
    refusal(_document, procedure, short, kind=ProtocolError)


@holds
@given(PARAMETERS, TEXTS)
def test_every_string_among_parameters_is_found(
    parameters: list[tuple[bytes, tuple[int, bytes]]], before: bytes
) -> None:
    payload, expected = before + struct.pack(">I", len(parameters)), []
    for field, (kind, value) in parameters:
        payload += remote.parameter(field, kind, value)
        expected += [(field, len(payload) - len(value))] if kind == 7 else []
    assert list(xdr.string_parameters(payload + b"more", len(before))) == expected


@holds
@given(PARAMETERS, st.data())
def test_parameters_that_end_early_are_refused(
    parameters: list[tuple[bytes, tuple[int, bytes]]], data: st.DataObject
) -> None:
    whole = b"".join(remote.parameter(field, kind, value) for field, (kind, value) in parameters)
    payload = struct.pack(">I", len(parameters) + 1) + whole
    refusal(list, xdr.string_parameters(payload[: data.draw(st.integers(0, len(payload)))], 0), kind=ProtocolError)


def test_more_parameters_than_anybody_means_are_not_looked_at() -> None:
    one = remote.parameter(b"dxml", 7, remote.string(b"<a/>"))
    most = xdr.PARAMETERS_MAX
    assert len(list(xdr.string_parameters(struct.pack(">I", most) + one * most, 0))) == most
    refusal(list, xdr.string_parameters(struct.pack(">I", most + 1) + one * (most + 1), 0), kind=ProtocolError)


@pytest.mark.parametrize("kind", [0, 8, 2**32 - 1])
def test_a_parameter_of_no_known_type_is_refused(kind: int) -> None:
    payload = struct.pack(">I", 1) + remote.parameter(b"dxml", kind, remote.string(b"<a/>"))
    refusal(list, xdr.string_parameters(payload, 0), kind=ProtocolError)


def _document(procedure: int, payload: bytes) -> bytes:
    (at,) = procedures.documents_at(procedures.CALLS[procedure], payload)
    return xdr.string_at(payload, at)
