"""How properties are tested: the same examples each time, however slow the machine, and nothing left in the checkout."""

from __future__ import annotations

import os
import tempfile

from hypothesis import configuration, settings

configuration.set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), f"libvirt-vepa-{os.getuid()}"))
holds = settings(deadline=None, derandomize=True, database=None, max_examples=200)
