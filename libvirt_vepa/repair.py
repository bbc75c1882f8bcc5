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

# Comments, CDATA sections and processing instructions are tokens of their own, so that nothing
# inside them is taken for a tag; a tag may hold '>' inside quotes.
TOKEN = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<(?:\"[^\"]*\"|'[^']*'|[^<>\"'])*>",
    re.DOTALL,
)
OPENING = re.compile(r"<interface\s(?:[^>]*\s)?type\s*=\s*(['\"])physical\1[^>]*>", re.DOTALL)
VALUE = re.compile(r"<(name|type|mode)\s*=\s*(?:'([^'<>]*)'|\"([^\"<>]*)\")\s*/>")
# A remark stands behind an element on its line, and goes on to the line's end.
REMARK = re.compile(r"(?<=>)([ \t]*)//[^\r\n]*")


def repair(data: bytes) -> bytes:
    """Return the document with our blocks made well-formed; the same lines, and the same bytes everywhere else.

    The text is taken byte by byte (ISO-8859-1), which is harmless in every encoding that
    contains ASCII: only ASCII is looked for and changed.
    """
    text = data.decode("iso-8859-1")
    pieces, position = [], 0
    for start, end in _blocks(text):
        pieces += [text[position:start], _mend(text[start:end])]
        position = end
    return "".join((*pieces, text[position:])).encode("iso-8859-1")


def _blocks(text: str) -> list[tuple[int, int]]:
    """Return where each of our blocks begins and ends: from its opening tag to the next `</interface>`.

    An interface that begins before that shows that the first one was complete in itself.
    """
    blocks, start = [], None
    for token in TOKEN.finditer(_without_remarks(text)):
        tag = token.group()
        if re.match(r"<interface[\s/>]", tag):
            start = token.start() if OPENING.fullmatch(tag) else None
        elif start is not None and re.fullmatch(r"</interface\s*>", tag):
            blocks.append((start, token.end()))
            start = None
    return blocks


def _without_remarks(text: str) -> str:
    """Return a text of the same length for looking at: a quote or a '<' in a remark would mislead."""
    return REMARK.sub(lambda remark: " " * len(remark.group()), text)


def _mend(block: str) -> str:
    opening, rest = _split(REMARK.sub(r"\1", block))
    rest = VALUE.sub(lambda value: f"<{value[1]}>{value[2] or value[3] or ''}</{value[1]}>", rest)
    return re.sub(r"\s*/>$", ">", opening) + rest


def _split(block: str) -> tuple[str, str]:
    opening = TOKEN.match(block)
    end = opening.end() if opening else 0
    return block[:end], block[end:]
