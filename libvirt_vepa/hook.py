# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The qemu hook: what libvirtd calls at each step of a guest's life (docs/hooks.rst of libvirt).

`hooks/qemu` has read the document and seen that it is of interest; it hands it over to the program
`libvirt-vepa-hook`, which is this module. Each operation loads only what it needs.
"""

from __future__ import annotations

import os
import sys
import syslog
from collections.abc import Callable
from typing import TYPE_CHECKING

from libvirt_vepa.errors import HostError, InUseError, VepaError, error_context, not_installed, printable
from libvirt_vepa.store.store import Store

if TYPE_CHECKING:
    from types import ModuleType

# What is done for one operation with the document; it returns the exit status.
Action = Callable[[bytes], int]
# Exit status of a hook that wants the operation to go on, and of one that does not.
DONE, FAILED = 0, 1
# What the hook obeys also for a guest that is not ours: whatever else may fail here is none of its business.
REFUSED = 3
# The program's name, the work, and what libvirt says to a hook.
ARGUMENTS = 6


def run() -> int:
    """Do the work that `hooks/qemu` names, with the document on standard input; return the hook's exit status.

    The work is `devices` (see `_judge_devices`), `guest` (what the operation needs), `filters` (see `renew`), or
    several with a comma between.
    """
    if len(sys.argv) != ARGUMENTS:
        return _explain()
    work, document = sys.argv[1].split(","), sys.stdin.buffer.read()
    status = _judge_devices(sys.argv[2], document) if "devices" in work else DONE
    if "guest" in work and status == DONE:
        status = main(sys.argv[2:], document)
    if "filters" in work:
        renew()
    return status


def _explain() -> int:
    """Answer a person: `--help`, `--version`, wrong usage (SystemExit); libvirt never pays for it."""
    from libvirt_vepa.command_line import check_hook_words

    try:
        check_hook_words(sys.argv[1:])
    except HostError as error:
        sys.stderr.write(f"libvirt-vepa-hook: {error}\n")
    return FAILED


def main(arguments: list[str], document: bytes) -> int:
    """Run one call of the hook and return its exit status.

    `arguments` are the guest's name, the operation, the sub-operation and one more; operations
    that are not in the table do nothing. Whatever goes wrong is one line on stderr.
    """
    operation = tuple(arguments[1:3])
    action = (SESSION if os.geteuid() else ACTIONS).get(operation)
    if action is None:
        return DONE
    try:
        return action(document)
    except VepaError as error:
        _tell(str(error))
    except (ImportError, SyntaxError) as error:
        _tell(str(not_installed(error)))
    except Exception as error:  # the last line of defence: a traceback helps nobody at the end of virsh's error
        _tell(f"unexpected {error!r}; please report this")
    return DONE if operation == RECONNECT else FAILED


def _tell(text: str) -> None:
    """Say it to libvirt, which shows it when the hook fails, and to the host's log, which has it in any case."""
    line = printable(text)
    sys.stderr.write(f"libvirt-vepa: {line}\n")
    syslog.syslog(syslog.LOG_WARNING, f"libvirt-vepa: {line}")


def _judge_devices(name: str, document: bytes) -> int:
    """Refuse a guest, whosever it is, that would take a device of one of ours. Errors do not stop it."""
    try:
        from libvirt_vepa.lifecycle import foreign

        foreign.reject_taken(document, Store())
    except InUseError as error:
        _tell(str(error.within(f"guest '{name}'")))
        return REFUSED
    except Exception as error:
        _tell(f"{error if isinstance(error, VepaError) else repr(error)}")
    return DONE


def renew() -> None:
    """Refresh the filters after a guest got a VF by other means, or gave it back. Errors do not stop that guest."""
    if os.geteuid():
        return  # a session cannot set a VF's MAC, and may not write filters
    try:
        from libvirt_vepa.lifecycle import guest as guests

        with guests.open_host(Store()) as host:
            guests.refresh_filters(host)
    except Exception as error:  # the guest is not ours to stop
        _tell(f"{error if isinstance(error, VepaError) else repr(error)}")


def _guest_action(chosen: Callable[[ModuleType], Callable[..., tuple[str, ...]]]) -> Action:
    """Return what does something for a guest with requests, and tells what an administrator should know of it."""

    def action(document: bytes) -> int:
        from libvirt_vepa.xml import domain

        guest = domain.read_guest(document)
        if guest.requests:
            from libvirt_vepa.lifecycle import guest as guests

            with guests.open_host(Store()) as host:
                for remark in chosen(guests)(guest, host):
                    _tell(f"{guest.where}: {remark}")
        return DONE

    return action


def _refuse(document: bytes) -> int:
    """Refuse a guest with requests in a user's session: its daemon has no right to make devices."""
    from libvirt_vepa.xml import domain

    guest = domain.read_guest(document)
    if guest.requests:
        what = "a physical interface needs qemu:///system, and this is qemu:///session"
        remedy = "run 'libvirt-vepa enable --system', and define the guest there"
        raise HostError(what, remedy, guest.where)
    return DONE


def _release(document: bytes) -> int:
    from libvirt_vepa.xml import domain

    # Only who the guest was matters: its XML may have been changed since it started.
    uuid, name = domain.read_identity(document)
    store = Store()
    with error_context(f"guest '{name}'"):
        if store.load(uuid) is None:
            return DONE
    from libvirt_vepa.lifecycle import guest as guests

    with error_context(f"guest '{name}'"), guests.open_host(store) as host:
        failures = guests.release_guest(uuid, host, f"the end of guest '{name}'")
    for failure in failures:
        _tell(f"guest '{name}': {failure}")
    return FAILED if failures else DONE


def _filter(document: bytes) -> int:
    """Translate what another host sent, or what was saved, if it holds requests in the proposed form."""
    from libvirt_vepa.xml import domain, translate

    if translate.is_proposed(document, domain.ORIGIN):
        sys.stdout.buffer.write(translate.to_stored(document, domain.ORIGIN))
    return DONE


RECONNECT = ("reconnect", "begin")
ACTIONS: dict[tuple[str, ...], Action] = {
    ("prepare", "begin"): _guest_action(lambda guests: guests.start_guest),
    ("start", "begin"): _guest_action(lambda guests: guests.check),
    ("release", "end"): _release,
    ("migrate", "begin"): _filter,
    ("restore", "begin"): _filter,
    RECONNECT: _guest_action(lambda guests: guests.repair_guest),
}
# A user's own daemon runs the hook too, as that user.
SESSION: dict[tuple[str, ...], Action] = {
    ("prepare", "begin"): _refuse,
    ("migrate", "begin"): _filter,
    ("restore", "begin"): _filter,
}
