# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt-vepa-connect.socket as systemd has it where it is enabled, for labs without systemd."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.user import CONNECTION

SOCKET = "/run/libvirt/libvirt-vepa-sock"
LINK = Path("/etc/systemd/system/sockets.target.wants/libvirt-vepa-connect.socket")
SECONDS = 60


@contextmanager
def enabled_socket() -> Iterator[Path]:
    """Have somebody listen there; give the link by which the unit is enabled."""
    LINK.parent.mkdir(parents=True, exist_ok=True)
    LINK.symlink_to("/usr/lib/systemd/system/libvirt-vepa-connect.socket")
    with subprocess.Popen((CONNECTION, "--listen", SOCKET)) as process:
        try:
            deadline = time.monotonic() + SECONDS
            while not Path(SOCKET).is_socket():
                assert process.poll() is None and time.monotonic() < deadline, f"nobody listens in {SECONDS} seconds"
            yield LINK
        finally:
            process.terminate()
            LINK.unlink()
