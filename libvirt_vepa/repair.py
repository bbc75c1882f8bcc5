# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The proposal's own spelling, which is not well-formed XML, made so.

It runs only on a document that the XML parser has refused, works only inside blocks that begin
with `<interface type='physical'>` and end with `</interface>`, and keeps every line where it was:

    <interface type ='physical' name='lan'/>      <interface type ='physical' name='lan'>
    <type='sr-iov'/> // one of three              <type>sr-iov</type>
    <mode='vepa|bridge'/>                         <mode>vepa|bridge</mode>
    </interface>                                  </interface>

What is found inside the elements is judged by whoever reads the document.
"""

from __future__ import annotations

import re

# Where to cut in a text, and what to put there instead.
Edit = tuple[int, int, bytes]

# Comments, CDATA sections and instructions are tokens of their own, so that nothing inside them is taken
# for a tag. A tag may hold '>' inside quotes but never '<', which keeps the search linear: no token
# goes past the next one's beginning.
TOKEN = re.compile(
    rb"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<\?.*?(?:\?>|\Z)"
    rb"|<[^<>\"'\s!?](?:\"[^\"<]*\"|'[^'<]*'|[^<>\"'])*+>",
    re.DOTALL,
)
INTERFACE = re.compile(rb"<interface(?=[\s/>])")
END = re.compile(rb"</interface\s*>")
ATTRIBUTE = re.compile(rb"(?<=\s)([^\s<>\"'=/]++)\s*+=\s*+(?:\"([^\"]*)\"|'([^']*)')")
VALUE = re.compile(rb"<(name|type|mode)(\s*)=(\s*)(?:\"([^\"<>]*)\"|'([^'<>]*)')(\s*)/>")
# A remark goes on to its line's end. It stands behind an element, or inside a block on a line of its own.
REMARK = re.compile(rb"(?<![ \t])[ \t]*+//[^\r\n]*")
REMARKS = re.compile(rb"(?:\s*+//[^\r\n]*)*+")


def repair(data: bytes) -> bytes:
    """Return the document with our blocks made well-formed; the same lines, and the same bytes everywhere else.

    It works on any encoding that contains ASCII, since only ASCII is looked for and changed.
    """
    pieces, position = [], 0
    for start, end, new in _edits(data):
        pieces += [data[position:start], new]
        position = end
    return b"".join((*pieces, data[position:]))


def _edits(data: bytes) -> list[Edit]:
    """Return what to change, in order.

    A block counts only when its `</interface>` is reached. An interface that begins before that
    shows that the one before it was complete in itself: what was collected for it is forgotten.
    """
    edits: list[Edit] = []
    block: list[Edit] | None = None
    position = 0
    while token := TOKEN.search(data, position):
        tag, position = token.group(), token.end()
        if INTERFACE.match(tag):
            block = [] if _is_physical(tag) else None
        if block is None:
            continue
        block += _tag_edits(token)
        remarks = _remarks(data, tag, position)
        if remarks:
            block += remarks
            position = remarks[-1][1]
        if END.fullmatch(tag):
            edits += block
            block = None
    return edits


def _is_physical(tag: bytes) -> bool:
    return any(name == b"type" and b"physical" in values for name, *values in ATTRIBUTE.findall(tag))


def _tag_edits(token: re.Match[bytes]) -> list[Edit]:
    """Open an opening tag that closes itself, and turn `<type='x'/>` into `<type>x</type>`.

    Line breaks inside the latter stay, in the closing tag.
    """
    tag, start, end = token.group(), token.start(), token.end()
    if INTERFACE.match(tag):
        return [(end - 2, end, b">")] if tag.endswith(b"/>") else []
    value = VALUE.fullmatch(tag)
    if not value:
        return []
    name, before, after, double, single, last = value.groups(b"")
    breaks = re.sub(rb"[^\r\n]", b"", before + after + last)
    return [(start, end, b"<%s>%s</%s%s>" % (name, double + single, name, breaks))]


def _remarks(data: bytes, tag: bytes, position: int) -> list[Edit]:
    """Take away the remarks that follow a tag that begins a block or ends an element."""
    if not (tag.startswith(b"</") or tag.endswith(b"/>") or INTERFACE.match(tag)):
        return []
    # Behind the block's end only the same line is ours.
    found = (REMARK if END.fullmatch(tag) else REMARKS).match(data, position)
    end = found.end() if found else position
    return [(remark.start(), remark.end(), b"") for remark in REMARK.finditer(data, position, end)]
