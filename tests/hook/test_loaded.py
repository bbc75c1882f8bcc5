# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `libvirt-vepad` has loaded, its processes for single calls of the hook need not load again and again."""

from __future__ import annotations

import json

from tests.lab.guest import Guest
from tests.lab.hook import PACKAGES, PYTHON, STATIONS, stored
from tests.lab.shell import run

# Loads as the service does, does one call's work, and prints what that has loaded beside.
CALL = f"""
import json, sys
sys.path.insert(0, {str(PACKAGES)!r})
from libvirt_vepa import helper
from libvirt_vepa.lifecycle import hook_errands
from libvirt_vepa.xml import document
hook_errands.load()
before, schemas = set(sys.modules), document.load_schema.cache_info().misses
done = hook_errands.perform(["devices", "guest"], sys.argv[1:], sys.stdin.buffer.read(), print)
print(json.dumps([done.status, sorted(set(sys.modules) - before), document.load_schema.cache_info().misses - schemas]))
"""


def test_a_call_finds_everything_loaded(guest: Guest) -> None:
    for operation in ("prepare", "start", "reconnect", "release"):
        words = ("lab1", operation, *STATIONS[operation])
        done = run(PYTHON, "-I", "-c", CALL, *words, stdin=stored(guest).decode())
        assert json.loads(done.stdout) == [0, [], 0], operation
