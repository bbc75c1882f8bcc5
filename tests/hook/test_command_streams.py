# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command and what surrounds it: standard streams, interrupts, usage, rights, libraries. Never a traceback."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from tests.hook.conftest import module_file, without
from tests.lab.documents import definition
from tests.lab.hook import COMMAND, ENVIRONMENT, PACKAGE, PACKAGES, PYTHON, command, one_line
from tests.lab.network import Nic
from tests.lab.shell import BOUND_SECONDS
from tests.support.leak_check import Untouched

GUEST = (
    b"<domain><name>web</name><devices><interface type='physical'><name>lan</name>"
    b"<mac address='52:54:00:00:00:01'/></interface></devices></domain>"
)
SAN = definition("san", "eth2").encode()
WAYS = pytest.mark.parametrize("way", [(COMMAND,), (PYTHON, "-m", "libvirt_vepa")], ids=["command", "module"])
Way = tuple[str, ...]
PATHS = {**ENVIRONMENT, "PYTHONPATH": str(PACKAGES)}
# They print little, much, and something only after they have done their work.
SPEAKING = [
    "iface-list",
    "iface-dumpxml lan",
    "translate -",
    "plan -",
    "plan --json -",
    "status",
    "status --json",
    "-h",
    "--version",
]


def shell(way: Way, rest: str, stdin: bytes = GUEST) -> subprocess.CompletedProcess[bytes]:
    """Run the command with what a shell puts around it."""
    line = f"{shlex.join(way)} {rest}"
    return subprocess.run(
        ("bash", "-c", line), input=stdin, capture_output=True, env=PATHS, cwd="/", timeout=BOUND_SECONDS, check=False
    )


@WAYS
@pytest.mark.parametrize("what", SPEAKING)
def test_output_that_cannot_be_written_is_one_line(wire: Nic, way: Way, what: str) -> None:
    with Untouched():
        full, closed = shell(way, f"{what} >/dev/full"), shell(way, f"{what} >&-")
    for done, reason in ((full, "No space left on device"), (closed, "Bad file descriptor")):
        assert done.returncode == 1
        assert one_line(done, "error: ") == f"cannot write standard output: {reason}; see where it goes to"


@WAYS
@pytest.mark.parametrize("size", [0, 3 << 20])
def test_a_reader_that_has_had_enough_hears_nothing_of_it(wire: Nic, way: Way, size: int) -> None:
    big = GUEST.replace(b"<domain>", b"<domain><description>" + b"x" * size + b"</description>")
    done = shell(way, "translate | true; echo ${PIPESTATUS[0]} >&2", big)
    # Its reader may have gone before or after all was written.
    assert done.stderr in ((b"1\n",) if size else (b"0\n", b"1\n"))


@WAYS
def test_errors_that_cannot_be_told_do_not_end_up_elsewhere(wire: Nic, way: Way) -> None:
    for where in ("2>&-", "2>/dev/full"):
        done = shell(way, f"iface-dumpxml nothing {where}")
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


@WAYS
def test_closed_input_is_one_line(wire: Nic, way: Way) -> None:
    for what in ("translate", "plan -", "iface-define -"):
        with Untouched():
            done = shell(way, f"{what} <&-")
        assert done.returncode == 1
        assert one_line(done, "error: ").startswith("cannot read -: Bad file descriptor; ")


@WAYS
def test_all_three_closed_do_no_harm_to_what_is_opened_next(wire: Nic, way: Way, tmp_path: Path) -> None:
    file = tmp_path / "san.xml"
    file.write_bytes(SAN)
    # The work is done; only that could not be said.
    assert shell(way, f"iface-define {file} <&- >&- 2>&-").returncode == 1
    assert command("iface-dumpxml", "san").stdout.startswith(b"<interface type='physical' name='san'>\n")


@WAYS
def test_an_interrupt_is_one_line(wire: Nic, way: Way) -> None:
    for arguments in (("translate",), ("plan", "-"), ("iface-define", "-")):
        with (
            Untouched(),
            subprocess.Popen(
                (*way, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=PATHS
            ) as process,
        ):
            assert process.stdin is not None
            # More than a pipe holds: when all is written, the command has begun to read.
            process.stdin.write(b" " * (1 << 20))
            process.stdin.flush()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=BOUND_SECONDS)
        assert (process.returncode, out, err) == (1, b"", b"error: interrupted\n")


@WAYS
@pytest.mark.parametrize("library", ["libvirt_vepa.cli", "lxml.etree", "pyroute2"])
def test_an_interrupt_while_libraries_load_is_no_traceback(wire: Nic, way: Way, library: str) -> None:
    log = Path("/run/interrupted")
    inject = ("-e", "trace=openat", "-P", str(opened_for(library)), "-e", "inject=openat:signal=SIGINT:when=1")
    done = subprocess.run(
        ("strace", "-qq", "-o", str(log), *inject, *way, "plan", "-"),
        input=GUEST,
        capture_output=True,
        env=PATHS,
        cwd="/",
        check=False,
        timeout=BOUND_SECONDS,
    )
    assert "SIGINT" in log.read_text()
    # strace itself has a word to say where the file is reached by a link.
    told = [line for line in done.stderr.splitlines() if not line.startswith(b"strace: ")]
    assert (done.returncode, told) == (1, [b"error: interrupted"])


def opened_for(module: str) -> Path:
    """Return the file that Python opens for a module."""
    file = module_file(module)
    return Path(cache_from_source(file) if file.suffix == ".py" else file)


@WAYS
@pytest.mark.parametrize(
    "what", ["", "frobnicate", "iface-dumpxml", "iface-list x", "translate --to latin", "plan", "status -x", "plan - -"]
)
def test_wrong_usage_is_exit_status_two(wire: Nic, way: Way, what: str) -> None:
    with Untouched():
        done = shell(way, what)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"usage: libvirt-vepa ") and b"libvirt-vepa" in done.stderr.splitlines()[-1]
    assert b"Traceback" not in done.stderr


@WAYS
def test_without_root(wire: Nic, way: Way) -> None:
    nobody = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", *way)
    with Untouched():
        for what in ("iface-list", "iface-dumpxml lan", "translate -", "plan -", "status", "reconcile --dry-run", "-h"):
            done = shell(nobody, what)
            assert (done.returncode, done.stderr) == (0, b""), what
        for what in ("iface-define -", "iface-undefine lan"):
            done = shell(nobody, what, SAN)
            assert done.returncode == 1
            assert one_line(done, "error: ").endswith(": Permission denied; run the command as root")


@WAYS
@pytest.mark.parametrize(
    ("module", "what"), [("lxml", "iface-list"), ("lxml", "status"), ("pyroute2", "plan -"), ("pyroute2", "status")]
)
def test_a_library_that_is_not_installed(wire: Nic, way: Way, module: str, what: str) -> None:
    with Untouched(), without(module):
        done = shell(way, what)
        assert shell(way, "-h").returncode == (1 if module == "lxml" else 0)
    assert done.returncode == 1
    assert one_line(done, "error: ") == f"Python's module '{module}' is missing; install the package python3-{module}"


def test_a_package_that_is_not_whole(wire: Nic) -> None:
    for name in ("errors", "cli", "xml/domain"):
        source = PACKAGE / f"{name}.py"
        kept = source.rename(source.with_suffix(".kept"))
        try:
            done = shell((COMMAND,), "iface-list")
        finally:
            kept.rename(source)
        assert done.returncode == 1
        assert one_line(done, "error: ").endswith("; install libvirt-vepa again")


def test_the_command_ignores_environment_and_folder(wire: Nic, tmp_path: Path) -> None:
    for name in ("libvirt_vepa", "json", "argparse", "lxml", "startup"):
        (tmp_path / f"{name}.py").write_text("import os\nos._exit(7)\n")
    hostile = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "startup.py")}
    done = subprocess.run((COMMAND, "iface-list"), env=hostile, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0 and b"eth1" in done.stdout


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "xx_YY.ISO-8859-1"])
def test_a_name_that_no_character_set_has_can_be_printed(wire: Nic, locale: str, tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/\xff\n\xc3\xbc.xml"
    Path(os.fsdecode(file)).write_bytes(
        b"<interface type='physical' name='x'><source dev='y'/><type>vmdq</type></interface>"
    )
    done = subprocess.run(
        (COMMAND, "iface-define", file), env={**ENVIRONMENT, "LC_ALL": locale}, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 2
