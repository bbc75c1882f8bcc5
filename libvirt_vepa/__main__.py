"""`python3 -m libvirt_vepa` is `libvirt-vepa`."""

from __future__ import annotations

import sys

from libvirt_vepa.errors import not_installed


def run() -> int:
    """Load the command, run it and return its exit status; what is missing is one line, too."""
    try:
        from libvirt_vepa.cli import main

        return main(sys.argv[1:])
    except (ImportError, SyntaxError) as error:
        sys.stderr.write(f"error: {not_installed(error)}\n")
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
    return 1


if __name__ == "__main__":
    sys.exit(run())
