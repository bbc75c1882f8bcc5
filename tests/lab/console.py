# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is between the lab and an emulated machine: its serial port, and QEMU's monitor."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO


class Console:
    """What a machine says on its serial port: kept in a file, and waited for."""

    def __init__(self, source: IO[bytes], log: Path) -> None:
        self._log = log
        self._text = ""
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._thread.start()

    def _read(self, source: IO[bytes]) -> None:
        with self._log.open("ab", buffering=0) as log:
            while chunk := os.read(source.fileno(), 65536):
                log.write(chunk)
                with self._news:
                    self._text += chunk.decode("utf-8", "replace")
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait(self, pattern: str, seconds: float) -> bool:
        """Return whether the pattern came, before the machine ended or the time was over."""
        with self._news:
            self._news.wait_for(lambda: self._ended or re.search(pattern, self._text), seconds)
            return bool(re.search(pattern, self._text))

    @property
    def last(self) -> str:
        """The last lines."""
        return "\n".join(self._text.replace("\r", "").splitlines()[-40:])


def ask(monitor: Path, execute: str, arguments: Mapping[str, str]) -> str:
    """Have QEMU do something by its monitor's socket; return why it refuses, or nothing."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.fspath(monitor))
        with connection.makefile("rw", encoding="utf-8") as stream:
            for request in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": dict(arguments)}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                # Events come in between.
                while not {"return", "error"} & (reply := json.loads(stream.readline())).keys():
                    pass
    return str(reply["error"]["desc"]) if "error" in reply else ""
