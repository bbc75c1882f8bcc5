# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the programs read from their command lines, and how a table is printed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from libvirt_vepa.errors import HostError, printable
from libvirt_vepa.version import VERSION

# What `hooks/qemu` says to its program: what to do, and what libvirt has said to it.
HOOK_WORDS = ("WORK", "NAME", "OPERATION", "SUB-OPERATION", "EXTRA")


def socket_path(program: str, description: str, arguments: Sequence[str], *, required: bool) -> Path | None:
    """Return the path to listen on, or None for the socket that systemd passes on.

    `--help` and `--version` end the program with status 0, wrong usage ends it with status 2 (SystemExit).
    `required` tells whether the program does nothing but listen. Raises HostError where standard output cannot
    be written.
    """
    parser = _parser(program, description)
    parser.add_argument(
        "--listen",
        nargs="?",
        type=_path,
        required=required,
        metavar="PATH",
        help="serve all clients that connect to the socket PATH; without PATH, to the one that systemd passes on",
    )
    path: Path | None = _parsed(parser, arguments).listen
    return path


def check_hook_words(arguments: Sequence[str]) -> None:
    """End the hook's program as `socket_path` does, unless it was called as the hook calls it."""
    parser = _parser("libvirt-vepa-hook", "What libvirt's qemu hook runs for a guest on a physical NIC.")
    for word in HOOK_WORDS:
        parser.add_argument(word)
    _parsed(parser, arguments)


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program, description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{program} {VERSION}")
    return parser


def _path(word: str) -> Path:
    if not word:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(word)


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse; what argparse prints is written before this ends, while an error can still be reported."""
    try:
        try:
            return parser.parse_args(arguments)
        except SystemExit:
            if sys.stdout:
                sys.stdout.flush()
            raise
    except OSError as error:
        # Or Python would try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise HostError(f"cannot write standard output: {error.strerror}", "see where it goes to") from error


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the text of a table as virsh prints it, with an empty line at its end."""
    lines = [heads, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    texts = ["   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "-" * (sum(widths) + 3 * len(widths) - 1)
    return "\n".join([f" {texts[0]}", rule, *(f" {text}" for text in texts[1:]), ""])
