# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands of the lab: run to their end, and loud when they fail."""

from __future__ import annotations

import json
import subprocess
from typing import Any

# After so long what has not come hangs, also on a busy or an emulated machine.
BOUND_SECONDS = 300.0


class CommandError(Exception):
    """A command of the lab failed; the text has the command and what it said."""


def run(
    *command: str, stdin: str | None = None, check: bool = True, timeout: float = BOUND_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed; CommandError where it fails and `check` is set."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise CommandError(
            f"{' '.join(command)}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )
    return done


def ip_json(*arguments: str) -> Any:
    """Return what `ip -j -d` tells."""
    return json.loads(run("ip", "-j", "-d", *arguments).stdout or "[]")


def link(device: str, *through: str) -> Any:
    """Return the dictionary that the kernel gives of a device, or None without it; `through` enters another host."""
    done = run(*through, "ip", "-j", "-d", "link", "show", "dev", device, check=False)
    return json.loads(done.stdout)[0] if done.returncode == 0 else None
