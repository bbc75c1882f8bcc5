# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each program says of itself, and of how it is used: --version, --help, wrong arguments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from libvirt_vepa.version import VERSION

TOP = Path(__file__).resolve().parents[2]
RUN = "import sys; from libvirt_vepa.{} import run; sys.exit(run())"
LISTENING = {"libvirt-vepa-connect": "connection", "libvirt-vepad": "helper"}
PROGRAMS = {"libvirt-vepa": "__main__", "libvirt-vepa-hook": "hook", **LISTENING}
SECONDS = 60


def started(module: str, *arguments: str, after: str = "") -> subprocess.CompletedProcess[str]:
    """Run what the program of this module runs; `after` is where a shell has its output go."""
    line = f'exec "$0" "$@" {after}'
    command = ("sh", "-c", line, sys.executable, "-c", RUN.format(module), *arguments)
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize(("name", "module"), PROGRAMS.items())
def test_a_program_knows_its_version(name: str, module: str) -> None:
    done = started(module, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name} {VERSION}\n", "")


@pytest.mark.parametrize("module", PROGRAMS.values())
def test_help_goes_to_standard_output(module: str) -> None:
    done = started(module, "--help")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("usage: ")


@pytest.mark.parametrize(("name", "module"), LISTENING.items())
@pytest.mark.parametrize(
    "arguments", [("x",), ("--listen", "a", "b"), ("--listen", ""), ("--no-such-option",), ("--li",)]
)
def test_wrong_usage_says_what_is_wrong(name: str, module: str, arguments: tuple[str, ...]) -> None:
    done = started(module, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ") and done.stderr.splitlines()[-1].startswith(f"{name}: error: ")


@pytest.mark.parametrize(("name", "module"), LISTENING.items())
@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_output_that_cannot_be_written_is_one_line(name: str, module: str, argument: str) -> None:
    done = started(module, argument, after=">/dev/full")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{name}: cannot write standard output: No space left on device; see where it goes to\n"


def test_the_service_does_nothing_but_listen() -> None:
    done = started(LISTENING["libvirt-vepad"])
    assert done.returncode == 2 and done.stderr.endswith("the following arguments are required: --listen\n")


def test_a_connection_does_not_wait_for_argparse() -> None:
    program = "import sys, libvirt_vepa.connection; sys.exit('argparse' in sys.modules)"
    subprocess.run((sys.executable, "-c", program), cwd=TOP, timeout=SECONDS, check=True)
