# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hostile documents through the command: bounded in time and memory, nothing opened, one line, nothing changed."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.entities import BOMB, ENTITY

CHECKOUT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
CPU_SECONDS, MEMORY = 20, 1024 * MIB
# The definitions are in a folder of the test's own.
RUN = """
import sys
from pathlib import Path
from libvirt_vepa import cli
from libvirt_vepa.store import definitions
definitions.DIRECTORY = Path(sys.argv[1])
sys.exit(cli.main(sys.argv[2:]))
"""
COMMANDS = {
    "translate": ("translate",),
    "proposed": ("translate", "--to", "proposed"),
    "native": ("translate", "--to", "native"),
    "iface-define": ("iface-define",),
    "plan": ("plan",),
}
TOO_LARGE = "the document is larger than 4 MiB; make it smaller: libvirt takes no larger one either"


def limits() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


class Command:
    """The command with little time and memory, and with what it may have written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.definitions = folder / "definitions"

    def __call__(self, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command: tuple[str | Path, ...] = (*before, sys.executable, "-c", RUN, self.definitions, *arguments)
        return subprocess.run(
            command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False, preexec_fn=limits
        )

    def refuses(self, *arguments: str) -> str:
        done = self(*arguments)
        assert done.returncode == 1, done.stderr
        assert done.stdout == "" and done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), done.stderr
        assert not self.definitions.exists()
        return done.stderr.removeprefix("error: ").strip()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


every_command = pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())


@every_command
def test_fifty_mib_are_refused_in_bounded_time_and_memory(
    command: Command, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "large.xml"
    with open(file, "wb") as out:
        out.write(b"<domain>")
        out.truncate(50 * MIB)
        out.seek(50 * MIB)
        out.write(b"</domain>")
    assert command.refuses(*arguments, str(file)) == f"{file}: {TOO_LARGE}"


def test_a_file_without_an_end_is_refused(command: Command) -> None:
    assert command.refuses("translate", "/dev/zero") == f"/dev/zero: {TOO_LARGE}"


@every_command
def test_a_bomb_is_never_expanded(command: Command, arguments: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "bomb.xml"
    file.write_text(BOMB)
    assert command.refuses(*arguments, str(file)) == f"{file}, line 2: {ENTITY}"


@every_command
def test_utf_16_is_refused(command: Command, arguments: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "wide.xml"
    file.write_text("<domain/>", encoding="utf-16")
    message = "the document is in UTF-16 or UTF-32; write it in UTF-8, as libvirt requires"
    assert command.refuses(*arguments, str(file)) == f"{file}: {message}"


@pytest.mark.parametrize("file", ["/no/such.xml", "/", "/proc/self/mem"])
def test_a_file_that_cannot_be_read_is_named(command: Command, file: str) -> None:
    text = command.refuses("translate", file)
    assert text.startswith(f"cannot read {file}: ") and text.endswith("; give the name of a file that you may read")


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ("<!DOCTYPE domain SYSTEM '{marker}'>{domain}", 0),
        ("<!DOCTYPE domain PUBLIC '-//x//y' 'http://127.0.0.1:9/{marker}'>{domain}", 0),
        ("<?xml-stylesheet href='{marker}' type='text/xsl'?>{domain}", 0),
        ("<!DOCTYPE domain [<!ENTITY e SYSTEM '{marker}'>]>{domain}", 1),
        ("<!DOCTYPE domain [<!ENTITY % e SYSTEM '{marker}'> %e;]>{domain}", 1),
        ("<!DOCTYPE domain SYSTEM '{marker}'><domain><name a='&e;'/></domain>", 1),
    ],
    ids=["document type", "document type in the network", "style sheet", "entity", "parameter entity", "undeclared"],
)
def test_the_kernel_sees_that_nothing_a_document_names_is_opened(
    command: Command, document: str, status: int, tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("no 'strace' on this machine")
    file, marker, trace = tmp_path / "document.xml", tmp_path / "marker", tmp_path / "trace"
    marker.write_text("<!ENTITY e 'from the marker'>")
    domain = (
        "<domain><name>web</name><devices><interface type='physical'><name>lan</name></interface></devices></domain>"
    )
    file.write_text(document.format(marker=marker, domain=domain))
    traced = ("strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file,%network", "-o", str(trace))
    done = command("translate", str(file), before=traced)
    assert done.returncode == status, done.stderr
    assert "from the marker" not in done.stdout
    calls = trace.read_text()
    assert f'"{file}"' in calls
    assert str(marker) not in calls
    assert not re.search(r"^\d+ +(socket|connect)\(", calls, re.MULTILINE)
