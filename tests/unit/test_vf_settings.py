# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a VF is set to, as documents write it."""

from __future__ import annotations

import pytest

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.address import PciAddress
from libvirt_vepa.model.vf_settings import READERS, UNSET, LinkState, VfSettings, VlanProtocol
from tests.support.refusals import refusal

DIGITS = "write one in decimal digits"
WORDS = {
    "spoofchk": "on",
    "trust": "off",
    "state": "disable",
    "min_tx_rate": "0",
    "max_tx_rate": "4294967295",
    "qos": "7",
    "proto": "802.1ad",
}
FULL = VfSettings(42, 7, VlanProtocol.DOT1AD, True, False, LinkState.DISABLE, 0, 2**32 - 1)


def test_what_is_read_is_written() -> None:
    assert VfSettings.parse(WORDS, "42") == FULL
    assert list(FULL.to_attributes.items()) == list(WORDS.items())
    assert list(WORDS) == list(READERS)


@pytest.mark.parametrize("name", WORDS)
def test_each_stands_alone(name: str) -> None:
    one = VfSettings.parse({name: WORDS[name]})
    assert one.to_attributes == {name: WORDS[name]}
    assert one.merged_over(FULL) == FULL and one != UNSET


def test_nothing_is_nothing() -> None:
    assert VfSettings.parse({}) == UNSET and UNSET.to_attributes == {}


def test_what_is_left_out_comes_from_the_other() -> None:
    asked = VfSettings(vlan=0, trust=True)
    assert asked.merged_over(FULL) == VfSettings(0, 7, VlanProtocol.DOT1AD, True, True, LinkState.DISABLE, 0, 2**32 - 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"spoofchk": "yes"}, "spoofchk 'yes' is neither on nor off; write one of them"),
        ({"trust": ""}, "trust '' is neither on nor off; write one of them"),
        ({"state": "up"}, "unknown link state 'up'; use auto, enable or disable"),
        ({"proto": "802.1q"}, "unknown VLAN protocol '802.1q'; use 802.1Q or 802.1ad"),
        *(
            (
                {"max_tx_rate": text},
                f"max_tx_rate '{text}' is no number from 0 to 4294967295; {DIGITS}",
            )
            for text in ("", "-1", "01", "1.5", "4294967296", "99999999999", "0x1", "٣", "1 ")
        ),
        ({"min_tx_rate": "a"}, f"min_tx_rate 'a' is no number from 0 to 4294967295; {DIGITS}"),
        ({"qos": "8"}, f"qos '8' is no number from 0 to 7; {DIGITS}"),
        (
            {"min_tx_rate": "11", "max_tx_rate": "10"},
            "min_tx_rate 11 is above max_tx_rate 10; lower the one or raise the other",
        ),
        ({"rate": "1"}, f"a VF has no setting 'rate'; use {', '.join(WORDS)}"),
    ],
)
def test_what_nobody_can_mean(words: dict[str, str], message: str) -> None:
    assert refusal(VfSettings.parse, words, kind=XmlError) == message


def test_a_rate_without_a_limit_is_above_every_other() -> None:
    assert VfSettings.parse({"min_tx_rate": "11", "max_tx_rate": "0"}).min_tx_rate == 11


@pytest.mark.parametrize("text", ["", "0", "4095", "042", "-1", "a"])
def test_what_is_no_vlan(text: str) -> None:
    message = f"VLAN '{text}' is no number from 1 to 4094; {DIGITS}"
    assert refusal(VfSettings.parse, {}, text, kind=XmlError) == message


def test_rates_of_two_documents_can_be_checked_together() -> None:
    both = VfSettings(min_tx_rate=20).merged_over(VfSettings(max_tx_rate=10))
    assert refusal(both.validated, kind=XmlError).startswith("min_tx_rate 20 is above max_tx_rate 10; ")


@pytest.mark.parametrize("text", ["0000:01:10.3", "0000:00:00.0", "ffffffff:ff:1f.7"])
def test_a_pci_address_is_written_as_the_kernel_does(text: str) -> None:
    assert str(PciAddress.parse(text)) == str(PciAddress.parse(text.upper())) == text


@pytest.mark.parametrize("text", ["", "01:00.0", "0000:01:20.0", "0000:01:00.8", "0000:1:00.0", "0000:01:00.0 "])
def test_what_is_no_pci_address(text: str) -> None:
    message = f"'{text}' is not a PCI address; write it as 'lspci -D' does, as in 0000:01:00.0"
    assert refusal(PciAddress.parse, text, kind=XmlError) == message
