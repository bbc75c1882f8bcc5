# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program `libvirt-vepa-hook`: what `hooks/qemu` hands a guest over to where `libvirt-vepad` does not do it.

`hooks/qemu` has read the document and seen that it is of interest. `lifecycle.hook_errands` does the work.
"""

from __future__ import annotations

import sys
import syslog

from libvirt_vepa.errors import HostError, printable
from libvirt_vepa.lifecycle import hook_errands

FAILED = 1
# The program's name, the work, and what libvirt says to a hook.
ARGUMENTS = 6
# The word with which `hooks/qemu` says that libvirt-vepad was to do it, and why the log has a line.
ALONE = "alone"
UNANSWERED = "libvirt-vepad has not done the hook's work, so the hook does it; see 'systemctl status libvirt-vepad'"


def run() -> int:
    """Do the work that `hooks/qemu` names, with the document on standard input; return the hook's exit status.

    All output is written by then.
    """
    if len(sys.argv) != ARGUMENTS:
        return _explain()
    work, document = sys.argv[1].split(","), sys.stdin.buffer.read()
    if ALONE in work:
        syslog.syslog(syslog.LOG_NOTICE, f"libvirt-vepa: {UNANSWERED}")
    outcome = hook_errands.perform(work, sys.argv[2:], document, _tell)
    try:
        sys.stdout.buffer.write(outcome.output)
        sys.stdout.flush()
    except OSError as error:
        _tell(f"cannot tell libvirt the guest's XML: {error.strerror}; see the log of its daemon")
        return FAILED
    return outcome.status


def _explain() -> int:
    """Answer a person: `--help`, `--version`, wrong usage (SystemExit); libvirt never pays for it."""
    from libvirt_vepa.command_line import check_hook_words

    try:
        check_hook_words(sys.argv[1:])
    except HostError as error:
        sys.stderr.write(f"libvirt-vepa-hook: {error}\n")
    return FAILED


def _tell(text: str) -> None:
    """Say it to libvirt, which shows it when the hook fails, and to the host's log, which has it in any case."""
    line = printable(text)
    sys.stderr.write(f"libvirt-vepa: {line}\n")
    syslog.syslog(syslog.LOG_WARNING, f"libvirt-vepa: {line}")
