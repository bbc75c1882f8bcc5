# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must not reach the XML parser, and how the parser is given the rest: no more once it has found an error.

libxml2 goes on behind an error to look for more of them, and the time that it takes for some of them grows with the
square of their number. So it does, in version 2.9, for attributes, namespaces, identifiers and names, and no option of
the parser bounds these.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from lxml import etree

MARK = b"\xef\xbb\xbf"
BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Each comment and instruction is matched once and for all ("(?>"), or thousands of them would take for ever.
DOCTYPE = re.compile(rb"(?:\xef\xbb\xbf)?(?>\s+|<!--.*?-->|<\?.*?\?>)*+<!DOCTYPE", re.DOTALL)
# What a document type may not declare: each use of it may be longer than itself.
DECLARED = re.compile(rb"<!(?:ENTITY|ATTLIST)")
# More than any document has that means something.
ATTRIBUTES, MARKS, NAMES = 500, 1000, 50_000
CROWDED = re.compile(
    rb"<[^\s<>\"'=/!?]++(?:\s++[^\s<>\"'=/]++\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+')){%d}" % (ATTRIBUTES + 1)
)
# Of an element, and of an attribute; what looks like one in a text counts, too.
NAME = re.compile(rb"<[^\s<>/!?]++|(?<=\s)[^\s<>\"'=/]++(?=\s*+=\s*+[\"'])")
# What no shorter document than that can have too many of.
SHORT = 1024 * 1024
PIECE = 32 * 1024


class Fault(NamedTuple):
    """What is wrong with a document, what helps, and at which byte; None where it is the whole document."""

    what: str
    remedy: str
    at: int | None = None


def find_fault(data: bytes, limit: int) -> Fault | None:
    """Return why somebody's document must not reach the parser, None where it may. `limit` is its size in bytes."""
    if len(data) > limit:
        what = f"the document is larger than {limit // 1024 // 1024} MiB"
        return Fault(what, "make it smaller: libvirt takes no larger one either")
    return _encoding(data) or find_burden(data)


def _encoding(data: bytes) -> Fault | None:
    if data.startswith(BYTE_ORDER_MARKS) or b"\0" in data[:4]:
        return Fault("the document is in UTF-16 or UTF-32", "write it in UTF-8, as libvirt requires")
    if b"\0" in data:
        return Fault("a NUL byte stands in the text", "remove it; the file may be damaged", data.index(b"\0"))
    try:
        data.decode()
    except UnicodeDecodeError as error:
        what = f"byte 0x{data[error.start]:02x} is not UTF-8"
        return Fault(what, "write the document in UTF-8, as libvirt requires", error.start)
    return None


def find_burden(data: bytes) -> Fault | None:
    """Return what would take the parser long, None where there is nothing."""
    return next(_burdens(data), None)


def _burdens(data: bytes) -> Iterator[Fault]:
    doctype = DOCTYPE.match(data)
    found = DECLARED.search(data, doctype.end()) if doctype else None
    if found:
        what = "an entity" if found[0].endswith(b"Y") else "an attribute"
        yield Fault(f"{what} is declared, which is not accepted", "write its text where it is used", found.start())
    crowded = CROWDED.search(data)
    if crowded:
        yield Fault(f"an element has more than {ATTRIBUTES} attributes", "use fewer", crowded.start())
    for word in (b"xmlns", b"xml:id"):
        if data.count(word) > MARKS:
            yield Fault(f"the document has '{word.decode()}' more than {MARKS} times", "use fewer")
    if len(data) > SHORT and len(set(NAME.findall(data))) > NAMES:
        yield Fault(f"the document has more than {NAMES} different names", "use fewer")


class Pieces:
    """A document as a file that ends where the parser that reads it has found an error."""

    def __init__(self, data: bytes, parser: etree.XMLParser, tolerated: Collection[int] = ()) -> None:
        """Errors in the `tolerated` domains (lxml.etree.ErrorDomains) end nothing."""
        # With an encoding that is given, a mark of it is not expected.
        self._data, self._parser, self._tolerated = data.removeprefix(MARK), parser, tolerated
        self._at = self._heard = 0

    def read(self, _size: int = -1) -> bytes:
        """Return the next piece, nothing at the end."""
        # At the end it is called again and again.
        if self._at < len(self._data) and next(self.errors(self._heard), None):
            self._at = len(self._data)
        begin, self._at = self._at, self._at + PIECE
        return self._data[begin : self._at]

    def errors(self, since: int = 0) -> Iterator[etree._LogEntry]:
        """Yield what the parser has complained of, after that many entries in its log."""
        log = self._parser.error_log
        self._heard = len(log)
        entries = (log[index] for index in range(since, self._heard))
        errors = (each for each in entries if each.level >= etree.ErrorLevels.ERROR)
        return (each for each in errors if each.domain not in self._tolerated)
