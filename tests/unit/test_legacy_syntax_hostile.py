# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The repair on text that was made to hurt it: linear in time, and the lines as they were."""

from __future__ import annotations

import random
import re
import time

import pytest

from libvirt_vepa.errors import XmlError
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml.legacy_syntax import repair

SIZE = documents.LIMIT - 64
# The slowest takes about two seconds on a slow machine; what is not linear takes hours.
SECONDS = 30
HEAD = "<interface type='physical'/>"
# What begins, what is repeated until it is 4 MiB long, and what ends.
SHAPES = {
    "opening brackets": ("", "<", ""),
    "open tags": (HEAD, "<a ", ""),
    "open double quotes": (HEAD, '<a "', ""),
    "open single quotes": (HEAD, "<a '", ""),
    "crossed quotes": (HEAD + "<a ", "'\"", ""),
    "quotes in one tag": ("<interface ", "'x' ", "/>"),
    "open comments": (HEAD, "<!--", ""),
    "open sections": (HEAD, "<![CDATA[", ""),
    "open instructions": (HEAD, "<?", ""),
    "ends of comments": (HEAD + "<!--", "-", ""),
    "blanks": (HEAD, " ", "</interface>"),
    "blanks in a tag": ("<interface ", " ", "type='physical'/>"),
    "blanks behind a name": ("<interface type", " ", "/>"),
    "words in a tag": ("<interface ", "type ", "/>"),
    "one word in a tag": ("<interface ", "type", "/>"),
    "half attributes": ("<interface ", "type= ", "/>"),
    "attributes": ("<interface ", "type='x' ", "/>"),
    "blanks in a value": (HEAD + "<name", " ", "='x'/>"),
    "blanks behind a value": (HEAD + "<name='x'", " ", "</interface>"),
    "slashes": (HEAD, "/", "</interface>"),
    "remarks": (HEAD, "<a/>//\n", "</interface>"),
    "remarks alone": (HEAD, " // \n", "</interface>"),
    "blanks before no remark": (HEAD, "<a/>          ", "</interface>"),
    "blank lines before no remark": (HEAD, "\n \n", "x</interface>"),
    "blanks before a remark on the next line": (HEAD, " ", "\n//x</interface>"),
    "values": (HEAD, "<type='x'/>", "</interface>"),
    "openings": ("", HEAD, ""),
    "blocks": ("", HEAD + "</interface>", ""),
    "blocks that never end": ("", HEAD + "<name='x'/>", ""),
    "ends": (HEAD, "</interface", ""),
    "ends with blanks": (HEAD + "</interface", " ", "x>"),
}


def shape(name: str, size: int = SIZE) -> bytes:
    head, unit, tail = SHAPES[name]
    return (head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail).encode()


@pytest.mark.parametrize("name", SHAPES)
def test_four_mib_of_anything_take_time_that_is_linear(name: str) -> None:
    # A regular expression cannot be interrupted: what is not linear is to be seen before it takes for ever.
    for size in (SIZE // 64, SIZE // 8, SIZE):
        data = shape(name, size)
        begun = time.process_time()
        result = repair(data)
        assert time.process_time() - begun < SECONDS * size / SIZE
        assert result.count(b"\n") == data.count(b"\n")
    assert SIZE - 64 < len(data) <= SIZE


@pytest.mark.parametrize(
    "name",
    [
        "open comments",
        "ends of comments",
        "open sections",
        "crossed quotes",
        "blocks that never end",
        "remarks",
        "values",
    ],
)
def test_the_whole_way_through_the_parser_is_bounded_too(bounded: None, name: str) -> None:
    begun = time.process_time()
    with pytest.raises(XmlError, match="not well-formed XML"):
        documents.parse(b"<d>" + shape(name) + b"<", "f.xml")
    assert time.process_time() - begun < SECONDS


WORDS = (
    *("<interface type='physical'/>", "<interface type='physical'>", "</interface>", "<interface type='bridge'>"),
    *("<name='lan'/>", "<type=\n'tap'/>", "<mode='a|b'/>", "<target mode='vepa'/>", "// remark", "//", "<!--", "-->"),
    *("<![CDATA[", "]]>", "<?", "?>", "<", ">", "'", '"', "&", "/", "=", " ", "\n", "\r\n", "\t", "ä", "name", "<a>"),
)


@pytest.mark.parametrize("seed", range(20))
def test_any_text_keeps_its_lines(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        data = "".join(chance.choices(WORDS, k=chance.randrange(40))).encode()
        result = repair(data)
        before = data.partition(b"<interface")[0]
        assert re.findall(b"[\r\n]", result) == re.findall(b"[\r\n]", data), data
        assert result.startswith(before), data
        if b"<interface type='physical'" not in data or b"</interface>" not in data:
            assert result == data


@pytest.mark.parametrize("seed", range(20))
def test_any_text_is_parsed_or_refused_in_one_line(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        text = "".join(chance.choices(WORDS, k=chance.randrange(12)))
        data = f"<d>\n{HEAD}{text}\n</interface></d>".encode()
        try:
            tree = documents.parse(data, "f.xml")
        except XmlError as error:
            assert str(error).startswith("f.xml, line "), data
            assert len(str(error).splitlines()) == 1, data
        else:
            assert tree.getroot().tag == "d"
