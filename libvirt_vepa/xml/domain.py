# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stored form as the hook gets it: which of a domain's interfaces ask for a NIC, and what they ask.

The interface element is the truth: a request whose interface is gone, or has become one of
another type, is nothing. Nothing here needs the stylesheets or the schemas, which cost time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.interface import (
    ALIAS_PREFIX,
    NAMESPACE,
    Guest,
    GuestType,
    Mode,
    Request,
    check_definition_name,
    check_device_name,
)
from libvirt_vepa.model.vf_settings import UNSET
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml import metadata
from libvirt_vepa.xml.identity import ORIGIN

FAMILY = re.compile(r"\{urn:libvirt-vepa:physical:([^}]*)\}interfaces")
VERSION = NAMESPACE.rpartition(":")[2]
# The guest's name stays out of it: it may hold anything, and this is made to be pasted into a shell.
AGAIN = "run 'virsh dumpxml --inactive GUEST | libvirt-vepa translate | virsh define /dev/stdin'"
ASK_AGAIN = (
    "'virsh edit' the guest, ask again with <interface type='physical'>, and translate it; or remove the <alias>"
)
NO_VF = "'virsh edit' the guest: ask for <type>macvtap</type>, or for no <vlan> and no <vf>"
NEWER = "install the libvirt-vepa that wrote it"


def read_guest(data: bytes, *, draft: bool = False) -> Guest:
    """Return the guest that a domain's XML describes, with its requests in the order of its interfaces.

    Both of libvirt's forms will do, that of a running guest and the inactive one. A `draft` is a
    document that libvirt has not seen yet and that may lack the UUID, which is then empty; any other is
    read as `documents.parse_libvirts` does. Raises XmlError, with guest and line, for an
    interface of ours that has lost its request or its target, and for values that nobody can mean.
    """
    root = (documents.parse if draft else documents.parse_libvirts)(data, ORIGIN).getroot()
    if root.tag != "domain":
        raise XmlError("this is not the XML of a domain", "give what 'virsh dumpxml' prints", ORIGIN)
    uuid, name = _identity(root)
    with documents.error_within((f"guest '{name}'",)):
        found = tuple(_found(root))
        if found and not uuid and not draft:
            raise XmlError("<uuid> is missing", "give the domain's XML as libvirt writes it")
    return Guest(name, uuid, found)


def _identity(root: Any) -> tuple[str, str]:
    return root.findtext("uuid") or "", root.findtext("name") or ""


def _found(root: Any) -> Iterator[Request]:
    """Yield what each interface asks that is ours."""
    requests = _requests(root)
    taken: dict[str, int] = {}
    for interface in root.iterfind("devices/interface"):
        with documents.error_within((f"interface on line {interface.sourceline}",)):
            request = _request(interface, requests)
            for claim in (f"MAC {request.mac}", f"device {request.device}") if request else ():
                if claim in taken:
                    raise XmlError(f"the interface on line {taken[claim]} has {claim} too", "change one of them")
                taken[claim] = interface.sourceline
        if request:
            yield request


def _requests(root: Any) -> dict[str, Any]:
    """Return the requests in the metadata by their alias.

    One that says more than is known here is refused: half of it may be what keeps the guest safe.
    """
    requests: dict[str, Any] = {}
    for wrapper in root.iterfind("metadata/*"):
        family = FAMILY.fullmatch(wrapper.tag)
        if family and family[1] != VERSION:
            raise XmlError(f"the requests are of version '{family[1]}', which is not known here", NEWER)
        for request in wrapper.iterfind(metadata.REQUEST) if family else ():
            with documents.error_within((f"request on line {request.sourceline}",)):
                _check(request, requests)
            requests[request.get("alias", "")] = request
    return requests


def _check(request: Any, others: dict[str, Any]) -> None:
    more = metadata.unknown_part(request)
    if more:
        raise XmlError(f"it says '{more}', which is not known here", NEWER)
    if request.get("alias", "") in others:
        raise XmlError(f"alias '{request.get('alias', '')}' has a request already", AGAIN)


def _request(interface: Any, requests: dict[str, Any]) -> Request | None:
    """Return what an interface asks; None where it is not ours."""
    if interface.get("type") == "physical":
        raise XmlError("the request has not been translated", "run 'libvirt-vepa translate' and define the result")
    alias = _given(interface, "alias", "name")
    if interface.get("type") != "ethernet" or not alias:
        return None
    request = requests.get(alias)
    if request is None:
        if alias.startswith(ALIAS_PREFIX):
            raise XmlError(f"alias '{alias}' has no request in the metadata", ASK_AGAIN)
        return None
    device = _given(interface, "target", "dev")
    if device is None or _given(interface, "target", "managed") != "no":
        raise XmlError("it has lost <target dev='…' managed='no'/>", AGAIN)
    return _built(alias, request, {word: _given(interface, *place) for word, place in metadata.DEVICE.items()})


def read_attached(data: bytes, alias: str) -> Guest:
    """Return a running guest with its one request of that alias, as the metadata in its XML says it, and nothing else.

    Raises XmlError where there is none, and where it does not say what its device is to be.
    """
    root = documents.parse_libvirts(data, ORIGIN).getroot()
    uuid, name = _identity(root)
    with documents.error_within((f"guest '{name}'", f"request '{alias}'")):
        request = _requests(root).get(alias)
        if request is None:
            raise XmlError("libvirt does not know of it", "see that nothing else writes the guest's metadata")
        return Guest(name, uuid, (_attached(request, alias),))


def _attached(request: Any, alias: str) -> Request:
    words = {word: request.get(word) for word in metadata.DEVICE}
    if not words["mac"] or not words["device"]:
        raise XmlError("it does not say which MAC and device", "install the same libvirt-vepa everywhere")
    return _built(alias, request, words)


def _built(alias: str, request: Any, words: Mapping[str, str | None]) -> Request:
    """Return a request's values; `words` are what its device is to be."""
    kind, vf = GuestType.parse(request.get("type", "")), metadata.vf_settings(request)
    if kind is GuestType.TAP and vf != UNSET:
        raise XmlError("it asks for a tap, which is not on a VF, and for what a VF is set to", NO_VF)
    mode, queues = request.get("mode"), _number("queues", words)
    return Request(
        alias=alias,
        name=check_definition_name(request.get("name", "")),
        type=kind,
        mode=None if mode is None else Mode.parse(mode),
        mac=MacAddress.of_station(words["mac"] or ""),
        device=check_device_name(words["device"] or ""),
        mtu=_number("mtu", words),
        queues=1 if queues is None else queues,
        vf=vf,
        outbound=_number("outbound", words),
    )


def _given(interface: Any, child: str, attribute: str) -> str | None:
    """Return an attribute of a child, None where there is none."""
    element = interface.find(child)
    return element.get(attribute) if element is not None else None


def _number(word: str, words: Mapping[str, str | None]) -> int | None:
    """Return a number that libvirt has checked already, or None where it is not given."""
    text = words[word]
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        child, attribute = metadata.DEVICE[word]
        raise XmlError(f"'{text}' is not a number (<{child} {attribute}>)", "give a positive number")
    return int(text)
