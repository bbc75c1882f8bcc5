"""`python3 -m libvirt_vepa` is `libvirt-vepa`."""

import sys

from libvirt_vepa.cli import main

sys.exit(main(sys.argv[1:]))
