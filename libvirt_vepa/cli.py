# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command `libvirt-vepa`, with virsh's habits: definitions, translation, plan, status, reconcile, the default URI.

Exit status 0 is done, 1 refused or failed (one line on stderr), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TextIO, TypeAlias

from libvirt_vepa.command_line import table
from libvirt_vepa.errors import HostError, VepaError, printable
from libvirt_vepa.model.interface import Guest
from libvirt_vepa.store import definitions
from libvirt_vepa.store.store import Store
from libvirt_vepa.version import VERSION
from libvirt_vepa.xml import definition, domain, translate
from libvirt_vepa.xml import document as documents

DONE, FAILED = 0, 1

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except OSError as error:
        # Every other file's error has become a VepaError where the file is dealt with.
        status = _give_up_output(error)
    return status


def _run(arguments: Sequence[str]) -> int:
    try:
        options = _parser().parse_args(arguments)
        status: int = options.run(options)
    except SystemExit as end:  # argparse has printed its help, or what is wrong
        return int(end.code or 0)
    except VepaError as error:
        return _fail(str(error))
    except (ImportError, SyntaxError, OSError):
        raise
    except Exception as error:  # the last line of defence: a traceback helps nobody
        return _fail(f"unexpected {error!r}; please report this")
    return status


def _give_up_output(error: OSError) -> int:
    _discard(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return FAILED  # whoever read it has had enough
    return _fail(f"cannot write standard output: {error.strerror}; see where it goes to")


def _fail(text: str) -> int:
    try:
        print(f"error: {printable(text)}", file=sys.stderr)
    except OSError:
        _discard(sys.stderr)  # the exit status still says it
    return FAILED


def _discard(stream: TextIO) -> None:
    """Let what cannot be written go nowhere, or Python would try again at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="libvirt-vepa",
        description="Name the NICs of this host, and see what guests that ask for them by name will get.",
    )
    parser.add_argument("--version", action="version", version=f"libvirt-vepa {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (_add_definitions, _add_documents, _add_uri):
        add(commands)
    return parser


def _add_definitions(commands: Commands) -> None:
    command = _command(commands, "iface-define", _define, "define a NIC, or redefine it, from an XML file")
    command.add_argument("file", help="XML of an <interface type='physical'>; - reads standard input")
    command.add_argument(
        "--print-drop-in",
        action="store_true",
        help="define nothing, but print what orders libvirt's daemon after the NIC, for systemd; "
        "FILE may be the name of a NIC that is defined",
    )
    _command(commands, "iface-list", _list, "list the NICs that are defined")
    command = _command(commands, "iface-dumpxml", _dump, "print the definition of a NIC")
    command.add_argument("name")
    command = _command(commands, "iface-undefine", _undefine, "remove the definition of a NIC")
    command.add_argument("name")


def _add_documents(commands: Commands) -> None:
    command = _command(commands, "translate", _translate, "translate a domain's XML")
    command.add_argument(
        "--to",
        choices=("stored", "proposed", "native"),
        default="stored",
        help="what libvirt stores (the default), what people write, or libvirt's own direct and bridge interfaces",
    )
    command.add_argument("file", nargs="?", default="-", help="a domain's XML; standard input where left out")
    command = _command(commands, "plan", _plan, "show what a guest's start would do on this host; touch nothing")
    command.add_argument("file", help="a domain's XML, in either form; - reads standard input")
    command.add_argument("--json", action="store_true", help="print it for programs")
    command = _command(commands, "status", _status, "show the guests that use NICs, and their devices")
    command.add_argument("--json", action="store_true", help="print it for programs")
    command = _command(commands, "reconcile", _reconcile, "put back what guests left behind that are gone")
    command.add_argument("--dry-run", action="store_true", help="only say what would be put back")


def _add_uri(commands: Commands) -> None:
    command = _command(commands, "enable", _enable, "have virsh speak of NICs by name: set your default URI")
    kinds = command.add_mutually_exclusive_group()
    for kind, text in (
        ("system", "the host's guests, as root and members of the group libvirt may"),
        ("session", "your own"),
    ):
        kinds.add_argument(
            f"--{kind}", dest="kind", action="store_const", const=kind.encode(), help=f"qemu:///{kind}: {text}"
        )
    command = _command(commands, "disable", _disable, "take back what enable has set")
    command.add_argument(
        "--report-users", action="store_true", help="change nothing; name the users who still have what enable sets"
    )


def _command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(run=run)
    return command


def _input(name: str) -> tuple[bytes, str]:
    """Read a file, or standard input for `-`; returns the text and what messages call it."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(documents.LIMIT + 1), "standard input"
        with open(name, "rb") as file:
            return file.read(documents.LIMIT + 1), name
    except OSError as error:
        raise HostError(f"cannot read {name}: {error.strerror}", "give the name of a file that you may read") from error


# -- definitions


def _define(options: argparse.Namespace) -> int:
    if options.print_drop_in:
        from libvirt_vepa.lifecycle import systemd_dropin

        sys.stdout.write(systemd_dropin.text(options.file, _input))
        return DONE
    from libvirt_vepa.lifecycle import define

    defined = define.define(*_input(options.file), Store())
    print(f"Interface {defined.name} defined from {printable(options.file)}\n")
    return DONE


def _list(_options: argparse.Namespace) -> int:
    rows, broken = [], []
    for name, found in definitions.load_all():
        if isinstance(found, VepaError):
            broken.append(found)
            rows.append((name, "-", "-", "damaged"))
        else:
            rows.append((name, found.source, found.type.value, " ".join(mode.value for mode in found.allowed)))
    print(table(("Name", "Device", "Type", "Modes"), rows))
    for error in broken:
        _fail(str(error))
    return FAILED if broken else DONE


def _dump(options: argparse.Namespace) -> int:
    sys.stdout.write(definition.write(definitions.load(options.name)).decode())
    return DONE


def _undefine(options: argparse.Namespace) -> int:
    from libvirt_vepa.lifecycle import undefine

    undefine.undefine(options.name, Store())
    print(f"Interface {options.name} undefined\n")
    return DONE


def _translate(options: argparse.Namespace) -> int:
    data, origin = _input(options.file)
    if options.to == "stored":
        result = translate.to_stored(data, origin)
    elif options.to == "proposed":
        result = translate.to_proposed(data, origin)
    else:
        hosts = (found for _, found in definitions.load_all() if not isinstance(found, VepaError))
        result = translate.to_native(data, origin, hosts)
    sys.stdout.buffer.write(result)
    return DONE


def _plan(options: argparse.Namespace) -> int:
    from libvirt_vepa.libvirtd import default_uri
    from libvirt_vepa.lifecycle import guest as guests

    guest = _draft(*_input(options.file))
    with guests.open_host(Store()) as host:
        plan = guests.dry_run(guest, host)
    remarks = [*plan.remarks, *(default_uri.session_remarks() if guest.requests else ())]
    if options.json:
        found = {
            "guest": guest.name,
            "complete": not plan.made_first,
            "interfaces": [vars(use) for use in plan.uses],
            "operations": plan.records(),
            "remarks": remarks,
        }
        print(json.dumps(found, indent=2))
    else:
        lines = [operation.describe() for operation in plan.operations]
        lines += [f"note: {remark}" for remark in remarks]
        if plan.made_first:
            lines.append("note: the rest is decided when these VFs are there")
        print("\n".join(lines) or f"nothing: {guest.where} asks for no physical interface")
    return DONE


def _draft(data: bytes, origin: str) -> Guest:
    """Read the guest that a document in either form describes; messages name the lines of that document."""
    guest = domain.read_guest(translate.to_stored(data, origin), draft=True)
    numbers = translate.lines(data, origin)
    requests = (replace(request, line=line) for request, line in zip(guest.requests, numbers, strict=True))
    return replace(guest, requests=tuple(requests))


# -- state


def _status(options: argparse.Namespace) -> int:
    from libvirt_vepa.lifecycle import guest, status

    with guest.open_host(Store()) as host:
        rows = status.interfaces(host)
    if options.json:
        print(json.dumps([row.record() for row in rows], indent=2))
        return DONE
    print(table(status.HEADS, [row.row() for row in rows]))
    return DONE


def _reconcile(options: argparse.Namespace) -> int:
    from libvirt_vepa.libvirtd import client as libvirt_client
    from libvirt_vepa.lifecycle import guest, reconcile

    if os.geteuid() and not options.dry_run:
        raise HostError("what guests left behind is root's to put back", "run the command as root")
    failed, look = False, libvirt_client.running_xml
    with guest.open_host(Store()) as host:
        for leftover in reconcile.find(host, libvirt_client.running_guests, look):
            for line in leftover.describe():
                print(line)
            for error in leftover.unread if options.dry_run else reconcile.put_back(leftover, host, look):
                failed = True
                _fail(str(error))
        if not options.dry_run:
            guest.refresh_filters(host)
            host.store.sweep_locks()
    return FAILED if failed else DONE


def _enable(options: argparse.Namespace) -> int:
    from libvirt_vepa.libvirtd import default_uri

    return _say(default_uri.enable(sys.argv[0], options.kind))


def _disable(options: argparse.Namespace) -> int:
    from libvirt_vepa.libvirtd import default_uri, users

    return _say(users.report() if options.report_users else default_uri.disable())


def _say(lines: Iterable[str]) -> int:
    """Print what is done, all of it done first: nobody who stops listening stops it half way."""
    for line in [printable(line) for line in lines]:
        print(line)
    return DONE
