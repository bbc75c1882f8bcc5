"""Where in libvirt's messages a document stands, compared with what remote_protocol.x says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libvirt_vepa import protocol, wire
from libvirt_vepa.errors import WireError
from tests.unit import remote
from tests.unit.properties import holds
from tests.unit.refusals import refusal

PROCEDURES = st.sampled_from(sorted(remote.ARGUMENTS))
TEXTS = st.binary(max_size=30)


def test_the_tables_name_the_same_procedures():
    assert set(protocol.CALLS) == set(remote.ARGUMENTS)
    assert set(protocol.REPLIES) == remote.REPLIES
    assert (protocol.PROGRAM, protocol.VERSION) == (remote.PROGRAM, 1)


@holds
@given(PROCEDURES, TEXTS, TEXTS)
def test_a_document_is_found_where_it_was_put(procedure, document, text):
    before, payload = remote.arguments(procedure, document, text)
    at = protocol.document_at(protocol.CALLS[procedure], payload)
    assert at == len(before)
    assert wire.string_at(payload, at) == document


@pytest.mark.parametrize("procedure", remote.OPTIONAL)
def test_a_document_may_be_missing(procedure):
    assert protocol.document_at(protocol.CALLS[procedure], remote.arguments(procedure, None)[1]) is None


@holds
@given(PROCEDURES, TEXTS, st.data())
def test_arguments_that_end_before_the_document_are_refused(procedure, text, data):
    before, payload = remote.arguments(procedure, b"<a/>", text)
    short = payload[: data.draw(st.integers(0, len(before) + 3))]
    refusal(_document, procedure, short, kind=WireError)


def _document(procedure: int, payload: bytes) -> bytes:
    at = protocol.document_at(protocol.CALLS[procedure], payload)
    assert at is not None
    return wire.string_at(payload, at)
