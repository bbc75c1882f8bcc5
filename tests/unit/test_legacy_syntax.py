# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The proposal's own spelling, made well-formed: the same lines, and nothing else touched."""

from __future__ import annotations

import pytest
from lxml import etree

from libvirt_vepa.xml.legacy_syntax import repair
from tests.lab.documents import proposed

# As the proposal's mail has them, but for the choices.
HOST = proposed("somename", "eth0", "sr-iov")
HOST_MENDED = """\
<interface type ='physical' name='somename'>
<source dev='eth0'/>
<type>sr-iov</type>
<mode>vepa|pepa|bridge</mode>
</interface>
"""
GUEST = """\
<interface type='physical'/>
<name='somename'/>
<type='macvtap'/> // one of the two to be specified
<target mode='vepa'/> //specify the mode needed for the VM
</interface>
"""
GUEST_MENDED = """\
<interface type='physical'>
<name>somename</name>
<type>macvtap</type>
<target mode='vepa'/>
</interface>
"""
HEAD, TAIL = "<interface type='physical'>", "</interface>"


def mended(text: str) -> str:
    return repair(text.encode()).decode()


@pytest.mark.parametrize(("written", "read"), [(HOST, HOST_MENDED), (GUEST, GUEST_MENDED)])
def test_the_proposals_own_text(written: str, read: str) -> None:
    assert mended(written) == read
    etree.fromstring(read)


@pytest.mark.parametrize(("written", "read"), [(HOST, HOST_MENDED), (GUEST, GUEST_MENDED)])
def test_other_line_ends_stay(written: str, read: str) -> None:
    assert mended(written.replace("\n", "\r\n")) == read.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("opening", "mended_opening"),
    [
        ("<interface type='physical'/>", "<interface type='physical'>"),
        ('<interface type="physical" />', '<interface type="physical" >'),
        ("<interface\n  name='a>b'\n  type\t=\n'physical'\n/>", "<interface\n  name='a>b'\n  type\t=\n'physical'\n>"),
        ("<interface type='physical'>", "<interface type='physical'>"),
    ],
)
def test_the_opening_tag_is_open(opening: str, mended_opening: str) -> None:
    assert mended(f"{opening}<name='lan'/>{TAIL}") == f"{mended_opening}<name>lan</name>{TAIL}"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<name='lan'/>", "<name>lan</name>"),
        ('<name="lan"/>', "<name>lan</name>"),
        ("<name = 'lan' />", "<name>lan</name>"),
        ("<type='sr-iov|vmdq|ethernet'/>", "<type>sr-iov|vmdq|ethernet</type>"),
        ("<mode=''/>", "<mode></mode>"),
        ("<mode='it&apos;s'/>", "<mode>it&apos;s</mode>"),
        ('<name="it\'s"/>', "<name>it's</name>"),
        ("<type\n=\n\n'tap'/>", "<type>tap</type\n\n\n>"),
    ],
)
def test_an_element_that_is_its_own_attribute(written: str, read: str) -> None:
    assert mended(HEAD + written + TAIL) == HEAD + read + TAIL
    etree.fromstring(HEAD + read + TAIL)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<name>lan</name> // one\n", "<name>lan</name>\n"),
        ("<target mode='vepa'/>//one & two < three 'four\n", "<target mode='vepa'/>\n"),
        ("\n  // alone\n  // twice\n<name='lan'/>", "\n\n\n<name>lan</name>"),
        ("<name='lan'/> // not </interface> yet\n", "<name>lan</name>\n"),
        ("<name='lan'/> // <!-- no comment\n", "<name>lan</name>\n"),
    ],
)
def test_remarks_behind_elements_go_to_their_lines_end(written: str, read: str) -> None:
    assert mended(HEAD + written + TAIL) == HEAD + read + TAIL


def test_a_remark_behind_the_block_goes_on_its_line_only() -> None:
    assert mended(f"{HEAD}<name='lan'/>{TAIL} // done\n// not ours\n") == f"{HEAD}<name>lan</name>{TAIL}\n// not ours\n"


@pytest.mark.parametrize(
    "inside",
    [
        "<name>http://x</name>",
        "<name> // lan</name>",
        "<script path='//x'/>",
        "<!-- <name='lan'/> // x -->",
        "<![CDATA[<name='lan'/> // x]]>",
        "<?p <name='lan'/> ?>",
        "<source='eth0'/>",
        "<names='lan'/>",
        "<name='l>a'/>",
        "<name='a'b'/>",
        "<name='lan'></name>",
    ],
)
def test_what_is_something_else_is_left_alone(inside: str) -> None:
    text = HEAD + inside + TAIL
    assert mended(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "<name='lan'/> // x",
        "<interface type='network'/>\n<name='lan'/> // x\n</interface>",
        "<interface kind='physical'/>\n<name='lan'/>\n</interface>",
        "<interface note=\" type='physical'\"/>\n<name='lan'/>\n</interface>",
        "<interfaces type='physical'/>\n<name='lan'/>\n</interfaces>",
        "<x:interface type='physical'/>\n<name='lan'/>\n</x:interface>",
        "<!-- <interface type='physical'/>\n<name='lan'/>\n</interface> -->",
        "<![CDATA[<interface type='physical'/>\n<name='lan'/>\n</interface>]]>",
        "<interface type='physical'/>\n<name='lan'/> // never closed\n",
    ],
)
def test_nothing_outside_our_blocks_is_touched(text: str) -> None:
    assert mended(text) == text


def test_a_block_ends_where_another_interface_begins() -> None:
    other = "<interface type='network'>\n<name='x'/> // y\n</interface>\n"
    assert mended(f"<interface type='physical' name='a'/>\n{other}{GUEST}") == (
        f"<interface type='physical' name='a'/>\n{other}{GUEST_MENDED}"
    )


def test_several_blocks_in_a_document() -> None:
    between = "<disk> <a='1'/> // kept & broken\n</disk>\n"
    assert mended(f"<d>\n{GUEST}{between}{HOST}</d>") == f"<d>\n{GUEST_MENDED}{between}{HOST_MENDED}</d>"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
def test_other_bytes_are_kept_whatever_they_mean(encoding: str) -> None:
    text = f"<d>ä\n{GUEST}ö</d>".encode(encoding)
    assert repair(text) == f"<d>ä\n{GUEST_MENDED}ö</d>".encode(encoding)


def test_what_is_mended_is_not_mended_again() -> None:
    assert mended(HOST_MENDED) == HOST_MENDED
    assert mended(GUEST_MENDED) == GUEST_MENDED
