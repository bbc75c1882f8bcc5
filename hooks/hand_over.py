# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How `hooks/qemu` has its work done: by libvirt-vepad, which has everything loaded, or else by PROGRAM.

AppArmor's profile of libvirtd covers this file, as it does the hook; neither libvirt-vepad nor what is executed from
/usr/bin is under it. libvirtd waits meanwhile, so this loads nothing either. The work is a list of words.
"""

import posix
import sys
from _socket import socket

TYPE_CHECKING = False  # what types are for costs more to load than all else
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

PROGRAM = "/usr/bin/libvirt-vepa-hook"
# PROGRAM may be installed anywhere, also where that profile lets nothing be executed.
ENV = "/usr/bin/env"
# libvirt-vepad's socket; how long, in seconds, until it is ready, for systemd may have to start it, and until it is
# done (it may wait for a NIC while the host boots, and for who else works on the guest).
HELPER, READY_SECONDS, DONE_SECONDS = "/run/libvirt/libvirt-vepad-sock", 30, 180
# The exit status of PROGRAM for a guest that must not start; any other says nothing about one that is not ours.
REFUSED = 3


def do(work: list[str], document: bytes) -> int:
    """Have the work done by libvirt-vepad, or become PROGRAM; return the exit status. Raises OSError where it fails."""
    words, is_root = ",".join(work), posix.geteuid() == 0
    status = ask_helper(words, document) if is_root else None
    if status is None:
        alone = is_root and sys.argv[2] == "prepare"
        become_program(f"{words},alone" if alone else words, document)
    return status


def is_refused(work: list[str], document: bytes, tell: "Callable[[Exception], None]") -> bool:
    """Have it done, and go on whatever comes of it, with an error told; return whether the guest must not start."""
    child = posix.fork()
    if child == 0:
        try:
            posix._exit(do(work, document))
        except OSError as error:
            tell(error)
        posix._exit(1)
    return posix.waitpid(child, 0)[1] == REFUSED << 8


def ask_helper(words: str, document: bytes) -> int | None:
    """Have libvirt-vepad do the work (libvirt_vepa/ipc/hook_call.py); return the exit status, None where it does not.

    Nothing is done before it is ready, and what it leaves undone when it dies the work itself begins with.
    """
    arguments = "\0".join([words, *sys.argv[1:]]).encode(errors="surrogateescape")
    channel = socket(1, 1)  # AF_UNIX, SOCK_STREAM
    try:
        channel.settimeout(READY_SECONDS)
        channel.connect(HELPER)
        channel.sendall(b"hook 1 %d %d\n" % (len(arguments), len(document)) + arguments)
        if channel.recv(16) != b"ready\n":
            return None
        channel.settimeout(DONE_SECONDS)
        channel.sendall(document)
        answer = b""
        while more := channel.recv(65536):
            answer += more
    except OSError:
        return None
    finally:
        channel.close()
    return answered(answer)


def answered(answer: bytes) -> int | None:
    """Print what libvirt-vepad has for libvirt, and return the exit status; None where the answer is not whole."""
    head, end, rest = answer.partition(b"\n")
    numbers = head.split(b" ")
    if len(numbers) != 3 or not all(number.isdigit() and len(number) < 10 for number in numbers):
        return None
    status, output, said = map(int, numbers)
    if not end or status > REFUSED or len(rest) != output + said:
        return None
    write(1, rest[:output])
    write(2, rest[output:])
    return status


def write(descriptor: int, data: bytes) -> None:
    """Write all of it. Raises OSError where that fails."""
    while data:
        data = data[posix.write(descriptor, data) :]


def become_program(words: str, document: bytes) -> "NoReturn":
    """Become PROGRAM, with the document as its standard input. Raises OSError where that fails."""
    if not posix.access(PROGRAM, posix.X_OK):
        raise OSError(f"there is no program {PROGRAM}")
    memory = posix.memfd_create("domain", 0)
    with open(memory, "wb", closefd=False) as file:
        file.write(document)
    posix.lseek(memory, 0, 0)
    posix.dup2(memory, 0)
    posix.close(memory)
    posix.execv(ENV, ["env", PROGRAM, words, *sys.argv[1:]])
