"""The stored form as the hook gets it: which of a domain's interfaces ask for a NIC, and what they ask.

The interface element is the truth; a request whose interface is gone is nothing.
"""

from __future__ import annotations

import re
from typing import Any

from libvirt_vepa import documents
from libvirt_vepa.errors import XmlError
from libvirt_vepa.model import (
    ALIAS_PREFIX,
    NAMESPACE,
    Guest,
    GuestType,
    MacAddress,
    Mode,
    Request,
    check_definition_name,
    check_device_name,
)

FAMILY = re.compile(r"\{urn:libvirt-vepa:physical:(\d+)\}interfaces")
ORIGIN = "the guest's XML"
AGAIN = "run 'virsh dumpxml --inactive GUEST | libvirt-vepa translate | virsh define /dev/stdin'"


def read_guest(data: bytes) -> Guest:
    """Return the guest that a domain's XML describes, with its requests in the order of its interfaces.

    The UUID is empty where the document has none. Raises XmlError, with guest and line, for an
    interface of ours that has lost its request or its target, and for values that nobody can mean.
    """
    root = documents.parse(data, ORIGIN).getroot()
    name = root.findtext("name") or ""
    requests = _requests(root, name)
    found = []
    for interface in root.iterfind("devices/interface"):
        with documents.at((f"guest '{name}'", f"interface on line {interface.sourceline}")):
            request = _request(interface, requests)
        if request is not None:
            found.append(request)
    return Guest(name, root.findtext("uuid") or "", tuple(found))


def read_identity(data: bytes) -> tuple[str, str]:
    """Return the UUID and the name of the guest that a domain's XML describes. Raises XmlError where it is no XML."""
    root = documents.parse(data, ORIGIN).getroot()
    return root.findtext("uuid") or "", root.findtext("name") or ""


def _requests(root: Any, name: str) -> dict[str, Any]:
    """Return the requests in the metadata by their alias."""
    metadata = root.find("metadata")
    for child in () if metadata is None else metadata:
        version = FAMILY.fullmatch(child.tag) if isinstance(child.tag, str) else None
        if version and version[1] != NAMESPACE.rpartition(":")[2]:
            raise XmlError(
                f"the requests are of version {version[1]}, which is not known here",
                "install the libvirt-vepa that wrote them",
                f"guest '{name}'",
            )
    return {request.get("alias", ""): request for request in root.iterfind(f"metadata/{{{NAMESPACE}}}interfaces/*")}


def _request(interface: Any, requests: dict[str, Any]) -> Request | None:
    alias = interface.find("alias")
    key = alias.get("name", "") if alias is not None else ""
    request = requests.get(key)
    if interface.get("type") == "physical":
        raise XmlError("the request has not been translated", "run 'libvirt-vepa translate' and define the result")
    if request is None:
        if key.startswith(ALIAS_PREFIX):
            raise XmlError(f"alias '{key}' has no request in the metadata", f"write the interface anew, then {AGAIN}")
        return None
    target = interface.find("target")
    if target is None or target.get("dev") is None or target.get("managed") != "no":
        raise XmlError("it has lost <target dev='…' managed='no'/>", AGAIN)
    return Request(
        alias=key,
        name=check_definition_name(request.get("name", "")),
        type=GuestType.parse(request.get("type", "")),
        mode=Mode.parse(request.get("mode")) if request.get("mode") is not None else None,
        mac=_mac(interface),
        device=check_device_name(target.get("dev")),
        mtu=_number(interface, "mtu", "size"),
        queues=_number(interface, "driver", "queues") or 1,
        line=interface.sourceline,
    )


def _mac(interface: Any) -> MacAddress:
    element = interface.find("mac")
    mac = MacAddress.parse(element.get("address", "") if element is not None else "")
    if mac.is_multicast or mac.is_zero:
        raise XmlError(f"{mac} is not the MAC of a single station", "give a unicast MAC, as in 52:54:00:aa:bb:cc")
    return mac


def _number(interface: Any, name: str, attribute: str) -> int | None:
    """Return a positive number that libvirt has checked already, or None where it is not given."""
    element = interface.find(name)
    text = element.get(attribute) if element is not None else None
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise XmlError(f"'{text}' is not a number ({name} {attribute})", "give a positive number")
    return int(text)
