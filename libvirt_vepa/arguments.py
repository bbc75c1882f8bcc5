# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of the two programs that listen on a socket."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from libvirt_vepa.errors import HostError
from libvirt_vepa.version import VERSION


def socket_path(program: str, description: str, arguments: Sequence[str], *, required: bool) -> Path | None:
    """Return the path to listen on, or None for the socket that systemd passes on.

    `--help` and `--version` end the program with status 0, wrong usage ends it with status 2 (SystemExit).
    `required` tells whether the program does nothing but listen. Raises HostError where standard output cannot
    be written.
    """
    parser = argparse.ArgumentParser(program, description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{program} {VERSION}")
    parser.add_argument(
        "--listen",
        nargs="?",
        type=_path,
        required=required,
        metavar="PATH",
        help="serve all clients that connect to the socket PATH; without PATH, to the one that systemd passes on",
    )
    try:
        return _parsed(parser, arguments)
    except OSError as error:
        # Or Python would try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise HostError(f"cannot write standard output: {error.strerror}", "see where it goes to") from error


def _path(word: str) -> Path:
    if not word:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(word)


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> Path | None:
    """Return the path; what argparse prints is written before this ends, while an error can still be reported."""
    try:
        path: Path | None = parser.parse_args(arguments).listen
    except SystemExit:
        if sys.stdout:
            sys.stdout.flush()
        raise
    return path
