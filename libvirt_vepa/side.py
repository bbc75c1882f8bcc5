"""One side of a connection: what comes from it, and what it has not taken yet."""

from __future__ import annotations

import os

# What one read takes at most. Longer ones cost more than they save: the C library maps such memory anew each time.
CHUNK = 96 * 1024


class Side:
    """A side that is read from and written to without ever waiting for it."""

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        # It takes nothing more; what it has said is still to be read.
        self.gone = False
        self._pending = bytearray()
        for descriptor in {source, sink}:
            os.set_blocking(descriptor, False)

    @property
    def waiting(self) -> int:
        """How many bytes it has not taken yet."""
        return len(self._pending)

    def read(self) -> bytes | None:
        """Return what has come: nothing where it has ended, None where there was nothing to read after all."""
        try:
            return self._read()
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    def send(self, data: bytes) -> bool:
        """Write as much as is taken at once, and keep the rest; tell whether there is none."""
        written = 0 if self._pending else self._written(data)
        if written == len(data):
            return True
        if not self.gone:
            self._pending += data[written:]
        return False

    def flush(self) -> None:
        """Write as much as is taken at once of what was kept."""
        written = self._written(self._pending)
        del self._pending[:written]

    def drop(self, count: int) -> None:
        """Close as many of the descriptors that have come from it; there are none here."""

    def close(self) -> None:
        """Close what cannot be delivered any more; the side itself belongs to the caller."""

    def _written(self, data: bytes | bytearray) -> int:
        """Return how much of this was written."""
        try:
            return 0 if self.gone else self._write(data)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            self.gone = True
            return 0

    def _read(self) -> bytes:
        return os.read(self.source, CHUNK)

    def _write(self, data: bytes | bytearray) -> int:
        return os.write(self.sink, data)
