# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How properties are tested: always the same examples, however slow the machine, and nothing left in the checkout."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import configuration, settings

configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir(), f"libvirt-vepa-{os.getuid()}"))
holds = settings(deadline=None, derandomize=True, database=None, max_examples=200)
