# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the qemu hook has done at each step of a guest's life (docs/hooks.rst of libvirt).

The hook's program does it, or `libvirt-vepad` for the hook, which has everything loaded. Where it is the program, each
operation loads only what it needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from libvirt_vepa.errors import HostError, InUseError, VepaError, error_context, not_installed
from libvirt_vepa.store.store import Store

if TYPE_CHECKING:
    from types import ModuleType

# Exit status of a hook that wants the operation to go on, and of one that does not.
DONE, FAILED = 0, 1
# What the hook obeys also for a guest that is not ours: whatever else may fail here is none of its business.
REFUSED = 3


@dataclass(frozen=True)
class Outcome:
    """What a call of the hook comes to: its exit status, and what it prints."""

    status: int = DONE
    output: bytes = b""


# Is told each line that libvirt, and an administrator, should know.
Report = Callable[[str], None]
Action = Callable[[bytes, Report], Outcome]


def perform(work: Sequence[str], arguments: Sequence[str], document: bytes, report: Report) -> Outcome:
    """Do what `hooks/qemu` has found to be done; whatever goes wrong is told, and never raised.

    The work is `devices` (see `_judge_devices`), `guest` (what the operation needs), `filters` (see `_renew`), or
    several. `arguments` are the guest's name, the operation, the sub-operation and one more.
    """
    outcome = _judge_devices(arguments[0], document, report) if "devices" in work else Outcome()
    if "guest" in work and outcome.status == DONE:
        outcome = _act(tuple(arguments[1:3]), document, report)
    if "filters" in work:
        _renew(report)
    return outcome


def load() -> None:
    """Load what any call may need, and what a first call makes of it, for those who are called more than once."""
    import encodings.ascii

    from libvirt_vepa.lifecycle import foreign, guest
    from libvirt_vepa.xml import definition, document, domain, translate

    del encodings, foreign, domain, translate
    # Whatever is wrong with this host, or with what is installed, is for a call to say.
    with suppress(VepaError):
        document.load_schema(definition.SCHEMA)
        # pyroute2 prepares its decoders when it decodes the first device; every network has this one.
        with guest.open_host(Store()) as host:
            host.netlink.find("lo")


def _act(operation: tuple[str, ...], document: bytes, report: Report) -> Outcome:
    """Do what an operation needs for a guest of ours; nothing for one that is not in the table."""
    action = (SESSION if os.geteuid() else ACTIONS).get(operation)
    if action is None:
        return Outcome()
    try:
        return action(document, report)
    except VepaError as error:
        report(str(error))
    except (ImportError, SyntaxError) as error:
        report(str(not_installed(error)))
    except Exception as error:  # the last line of defence: a traceback helps nobody at the end of virsh's error
        report(f"unexpected {error!r}; please report this")
    return Outcome(DONE if operation == RECONNECT else FAILED)


def _judge_devices(name: str, document: bytes, report: Report) -> Outcome:
    """Refuse a guest, whosever it is, that would take a device of one of ours. Errors do not stop it."""
    try:
        from libvirt_vepa.lifecycle import foreign

        foreign.reject_taken(document, Store())
    except InUseError as error:
        report(str(error.within(f"guest '{name}'")))
        return Outcome(REFUSED)
    except Exception as error:
        report(f"{error if isinstance(error, VepaError) else repr(error)}")
    return Outcome()


def _renew(report: Report) -> None:
    """Refresh the filters after a guest got a VF by other means, or gave it back. Errors do not stop that guest."""
    if os.geteuid():
        return  # a session cannot set a VF's MAC, and may not write filters
    try:
        from libvirt_vepa.lifecycle import guest as guests

        with guests.open_host(Store()) as host:
            guests.refresh_filters(host)
    except Exception as error:  # the guest is not ours to stop
        report(f"{error if isinstance(error, VepaError) else repr(error)}")


def _guest_action(chosen: Callable[[ModuleType], Callable[..., tuple[str, ...]]]) -> Action:
    """Return what does something for a guest with requests, and tells what an administrator should know of it."""

    def action(document: bytes, report: Report) -> Outcome:
        from libvirt_vepa.xml import domain

        guest = domain.read_guest(document)
        if guest.requests:
            from libvirt_vepa.lifecycle import guest as guests

            with guests.open_host(Store()) as host:
                for remark in chosen(guests)(guest, host):
                    report(f"{guest.where}: {remark}")
        return Outcome()

    return action


def _refuse(document: bytes, _report: Report) -> Outcome:
    """Refuse a guest with requests in a user's session: its daemon has no right to make devices."""
    from libvirt_vepa.xml import domain

    guest = domain.read_guest(document)
    if guest.requests:
        what = "a physical interface needs qemu:///system, and this is qemu:///session"
        remedy = "run 'libvirt-vepa enable --system', and define the guest there"
        raise HostError(what, remedy, guest.where)
    return Outcome()


def _release(document: bytes, report: Report) -> Outcome:
    from libvirt_vepa.xml import identity

    # Only who the guest was matters: its XML may have been changed since it started, and nobody may be able to read it.
    uuid, name = identity.read(document)
    store = Store()
    with error_context(f"guest '{name}'"):
        if store.load(uuid) is None:
            return Outcome()
    from libvirt_vepa.lifecycle import guest as guests

    with error_context(f"guest '{name}'"), guests.open_host(store) as host:
        failures = guests.release_guest(uuid, host, f"the end of guest '{name}'")
    for failure in failures:
        report(f"guest '{name}': {failure}")
    return Outcome(FAILED if failures else DONE)


def _filter(document: bytes, _report: Report) -> Outcome:
    """Translate what another host sent, or what was saved, if it holds requests in the proposed form."""
    from libvirt_vepa.xml import document as documents
    from libvirt_vepa.xml import identity, translate

    if translate.is_proposed(document, identity.ORIGIN, documents.parse_libvirts):
        return Outcome(output=translate.to_stored(document, identity.ORIGIN))
    return Outcome()


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
