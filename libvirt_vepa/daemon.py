"""What libvirt's daemon says of its guests: the one place that knows libvirt-python.

Never used inside the hook: libvirt holds the guest while the hook runs, and a call would wait for ever.
"""

from __future__ import annotations

import libvirt

from libvirt_vepa.errors import HostError

URI = "qemu:///system"


def running_guests(uri: str = URI) -> frozenset[str]:
    """Return the UUIDs of the guests that the daemon keeps running, those that are just starting included.

    Raises HostError where the daemon cannot be asked.
    """
    # By default libvirt-python prints every error to stderr as well.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.openReadOnly(uri)
        try:
            domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            return frozenset(domain.UUIDString() for domain in domains)
        finally:
            connection.close()
    except libvirt.libvirtError as error:
        remedy = "see that libvirtd runs, and try again as root"
        raise HostError(f"cannot ask libvirt which guests run: {error}", remedy) from error
