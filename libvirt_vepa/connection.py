"""The connection `libvirt-vepa-connect`: libvirt's client library runs it for a URI of the `ext` transport.

It stands between the client, on its standard input and output, and the socket of this host's
daemon, as the calling user and with no other rights.
"""

from __future__ import annotations

import sys

from libvirt_vepa.errors import VepaError
from libvirt_vepa.opening import open_daemon
from libvirt_vepa.pump import Pump
from libvirt_vepa.side import Side

DONE, FAILED = 0, 1


def run() -> int:
    """Serve one client until either side ends; return the exit status. What goes wrong is one line on stderr."""
    try:
        with open_daemon() as daemon:
            Pump(Side(0, 1), Side(daemon.fileno(), daemon.fileno())).run()
    except VepaError as error:
        sys.stderr.write(f"libvirt-vepa-connect: {error}\n")
        return FAILED
    except (BrokenPipeError, ConnectionError, KeyboardInterrupt):
        return FAILED
    return DONE
