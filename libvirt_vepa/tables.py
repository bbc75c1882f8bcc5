# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tables as virsh prints them: a blank before each column, three between, a line under the heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from libvirt_vepa.errors import printable


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the text of a table, with an empty line at its end."""
    lines = [heads, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    texts = ["   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "-" * (sum(widths) + 3 * len(widths) - 1)
    return "\n".join([f" {texts[0]}", rule, *(f" {text}" for text in texts[1:]), ""])
