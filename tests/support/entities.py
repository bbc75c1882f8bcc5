# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A document that entities would make grow beyond all bounds, and what is said to whoever declares one."""

from __future__ import annotations

ENTITY = "an entity is declared, which is not accepted; write its text where it is used"
# Ten levels of ten: a thousand million characters, if it were ever expanded.
LEVELS = "\n".join(f"<!ENTITY l{level} '{f'&l{level - 1};' * 10}'>" for level in range(1, 10))
BOMB = f"<!DOCTYPE a [\n<!ENTITY l0 'aaaaaaaaaa'>\n{LEVELS}\n]>\n<a>&l9;</a>"
