# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python3 -m libvirt_vepa` is `libvirt-vepa`: its streams are put in order, then it is loaded and run."""

from __future__ import annotations

import io
import os
import sys

from libvirt_vepa.errors import not_installed


def run() -> int:
    """Load the command, run it and return its exit status; what is missing is one line, too."""
    try:
        _fill_closed()
        if isinstance(sys.stdout, io.TextIOWrapper):
            # The name of a file or a guest may be in no character set, or in none that the terminal has.
            sys.stdout.reconfigure(errors="backslashreplace")
        from libvirt_vepa.cli import main

        return main(sys.argv[1:])
    except (ImportError, SyntaxError) as error:
        sys.stderr.write(f"error: {not_installed(error)}\n")
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
    return 1


def _fill_closed() -> None:
    """Have in the place of a closed standard stream what fails when it is used, as a closed one does.

    Without, the next file that is opened would take its place. Each gets the lowest number that is free.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY), "r")
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


if __name__ == "__main__":
    sys.exit(run())
