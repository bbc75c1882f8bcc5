# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One request to the kernel by netlink, and its answers, as bytes.

For what pyroute2 lacks, or does not do right in each version from 0.7.2 to 0.9.7; all else is in `rtnetlink`:

* the features of a device (`ethtool`): 0.7 knows none of ethtool's;
* a VF (`vf`): the VLAN is written two bytes too short for Linux 6.9 and newer (do_setvfinfo in net/core/rtnetlink.c);
* lists of all devices, addresses, bridges and stations (`link`, `eswitch`): pyroute2 ends with an error where one has
  changed while it was read (NLM_F_DUMP_INTR), and takes all of it apart, in which there is an entry for each guest;
* devlink's word for a card's switch (`eswitch`): pyroute2 has the command's number and no call.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NoReturn

# linux/netlink.h and linux/genetlink.h
NETLINK_ROUTE, NETLINK_GENERIC = 0, 16
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_DUMP_INTR, NLM_F_ACK_TLVS = 0x10, 0x200
NLMSGERR_ATTR_MSG = 1
HEADER = struct.Struct("=IHHII")
GENERIC_HEADER = struct.Struct("=BBH")
GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
# An attribute is a length, a type and a value, which may be attributes again.
ATTRIBUTE = struct.Struct("=HH")
NLA_TYPE_MASK = 0x3FFF
# More than any message that the kernel makes.
ROOM = 1 << 20
# A list that changed while it was read is read again, but not for ever.
ATTEMPTS = 10


class RefusedError(OSError):
    """The kernel's answer is an error; the text holds the kernel's own where it gives one (NLMSGERR_ATTR_MSG)."""


def request(protocol: int, kind: int, *body: bytes) -> list[bytes]:
    """Send a message of that type and return the bodies of what the kernel answers to it; RefusedError."""
    return [answer for answer, _ in _exchange(protocol, kind, NLM_F_REQUEST | NLM_F_ACK, body)]


def dump(protocol: int, kind: int, *body: bytes) -> list[bytes]:
    """Return the bodies of all that the kernel lists; RefusedError, also where the list never stands still."""
    for _ in range(ATTEMPTS):
        answers = list(_exchange(protocol, kind, NLM_F_REQUEST | NLM_F_DUMP, body))
        if not any(flags & NLM_F_DUMP_INTR for _, flags in answers):
            return [answer for answer, _ in answers]
    raise RefusedError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def generic(family: str, command: int, *attributes: bytes) -> list[bytes]:
    """Send a command of a generic netlink family and return the attributes of each answer.

    Raises RefusedError, with ENOENT where the kernel has no such family.
    """
    asked = pack(CTRL_ATTR_FAMILY_NAME, family.encode() + b"\0")
    try:
        (found,) = _generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, asked)
    except RefusedError as error:
        if error.errno == errno.ENOENT:
            raise RefusedError(errno.ENOENT, f"the kernel was built without {family}'s netlink") from error
        raise
    (number,) = struct.unpack("=H", dict(unpack(found))[CTRL_ATTR_FAMILY_ID])
    return _generic(number, command, *attributes)


def _generic(number: int, command: int, *attributes: bytes) -> list[bytes]:
    answers = request(NETLINK_GENERIC, number, GENERIC_HEADER.pack(command, 1, 0), *attributes)
    return [answer[GENERIC_HEADER.size :] for answer in answers]


def _exchange(protocol: int, kind: int, flags: int, body: tuple[bytes, ...]) -> Iterator[tuple[bytes, int]]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as kernel:
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            kernel.setsockopt(SOL_NETLINK, option, 1)
        content = b"".join(body)
        kernel.send(HEADER.pack(HEADER.size + len(content), kind, flags, 1, 0) + content)
        # The kernel has dealt with a request by the time it is sent, so nothing here waits.
        while True:
            for answered, its_flags, answer in _messages(kernel.recv(ROOM)):
                if answered not in (NLMSG_ERROR, NLMSG_DONE):
                    yield answer, its_flags
                elif _code(answer):
                    _refuse(answer, its_flags)
                else:
                    return


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    # By offset: what is left would be copied for each of hundreds of messages.
    offset = 0
    while len(data) - offset >= HEADER.size:
        length, kind, flags, _, _ = HEADER.unpack_from(data, offset)
        yield kind, flags, data[offset + HEADER.size : offset + length]
        offset += max(HEADER.size, (length + 3) & ~3)


def _code(answer: bytes) -> int:
    """Return the error number that ends an exchange, 0 where all is well (struct nlmsgerr)."""
    return -int(struct.unpack_from("=i", answer)[0])


def _refuse(answer: bytes, flags: int) -> NoReturn:
    # The request's header follows the number, then what explains it.
    told = dict(unpack(answer[4 + HEADER.size :])) if flags & NLM_F_ACK_TLVS else {}
    said = text(told.get(NLMSGERR_ATTR_MSG, b""))
    code = _code(answer)
    raise RefusedError(code, os.strerror(code) + (f" ({said})" if said else ""))


# -- attributes


def pack(kind: int, *values: bytes) -> bytes:
    """Return an attribute of that type, padded, whose value is `values` one after the other."""
    value = b"".join(values)
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def unpack(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type, without its flags, and value of the attributes in `data`."""
    offset = 0
    while len(data) - offset >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        yield kind & NLA_TYPE_MASK, data[offset + ATTRIBUTE.size : offset + length]
        offset += max(ATTRIBUTE.size, (length + 3) & ~3)


def text(value: bytes) -> str:
    """Return the text that an attribute holds."""
    return value.rstrip(b"\0").decode("ascii", "replace")
