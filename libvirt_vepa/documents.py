"""XML as it comes from people, files and libvirt, read without trust.

No document type, so no entities; no file and no network behind a document; a bound on its size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lxml import etree

from libvirt_vepa.errors import HostError, XmlError
from libvirt_vepa.repair import repair

# REMOTE_STRING_MAX in libvirt's remote_protocol.x: no longer document passes through libvirt.
LIMIT = 4 * 1024 * 1024
DOCTYPE = re.compile(rb"\s*(?:<\?xml.*?\?>)?(?:\s|<!--.*?-->|<\?.*?\?>)*<!DOCTYPE", re.DOTALL)
WIDE = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<", b"\0\0<")
# Where the sheets and schemas are: beside the package in a checkout, in PREFIX/share once installed.
PLACES = (
    Path(__file__).resolve().parent.parent / "xslt",
    Path(__file__).resolve().parents[3] / "share" / "libvirt-vepa",
)


def parse(data: bytes, origin: str) -> Any:
    """Return the document as an lxml tree, comments and blanks included.

    `origin` is what messages call it. What is not well-formed gets a second chance in the
    proposal's own spelling. Raises XmlError, with the line, where that does not help either.
    """
    _check(data, origin)
    try:
        return _parse(data)
    except etree.XMLSyntaxError as error:
        first = error
    mended = repair(data)
    if mended != data:
        try:
            return _parse(mended)
        except etree.XMLSyntaxError as error:
            # What is still wrong after the repair is what the author has to mend.
            first = error
    what = re.sub(r", line \d+, column \d+.*", "", first.msg or "not well-formed", flags=re.DOTALL)
    raise XmlError(f"not well-formed XML: {what}", "correct it there", line(origin, first.lineno or 1)) from None


def line(origin: str, number: int) -> str:
    """Return how messages name a line of a document."""
    return f"{origin}, line {number}"


@contextmanager
def at(places: tuple[str, ...]) -> Iterator[None]:
    """Say of an XmlError that comes out of this block that it is about this place, outermost first."""
    try:
        yield
    except XmlError as error:
        raise XmlError(error.what, error.remedy, *places, *error.where) from None


def _check(data: bytes, origin: str) -> None:
    if len(data) > LIMIT:
        raise XmlError(
            f"the document is larger than {LIMIT // 1024 // 1024} MiB",
            "no document of libvirt's can be that large",
            origin,
        )
    if data.startswith(WIDE):
        raise XmlError("the document is in UTF-16 or UTF-32", "write it in UTF-8, as libvirt requires", origin)
    if DOCTYPE.match(data):
        raise XmlError("a document type declaration is not accepted", "remove <!DOCTYPE …>", origin)


def _parse(data: bytes) -> Any:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        strip_cdata=False,
        remove_blank_text=False,
    )
    return etree.ElementTree(etree.fromstring(data, parser))


def data_file(name: str) -> Path:
    """Return the path of a sheet or schema; HostError where the installation is not complete."""
    for place in PLACES:
        if (place / name).is_file():
            return place / name
    raise HostError(f"{name} is missing from {PLACES[-1]}", "install libvirt-vepa again")
