# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The golden documents in translate/, and how documents are compared.

NAME.proposed.xml is what people write, canonical, and NAME.stored.xml what libvirt keeps of it. Where there
is a NAME.asked.xml (not canonical) or a NAME.edited.xml (stored, but another program has been at it), that
one becomes NAME.stored.xml instead. NAME.native.xml is for a host without the hook; vf*, which ask for what only a
VF has, have none. bare.* is a single
interface, as hotplug takes it: it becomes bare.interface.xml and bare.request.xml.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lxml import etree

from libvirt_vepa.model.interface import HostType, Mode, NicDefinition

FOLDER = Path(__file__).resolve().parents[1] / "golden/translate"
SHEETS = FOLDER.parents[2] / "xslt"
BARE = "bare"
BARE_KINDS = ("proposed", "interface", "request", "native")
# The order in which what becomes the stored form is looked for.
SOURCES = ("asked", "edited", "proposed")
FILES = {path.name for path in FOLDER.iterdir()}
NAMES = sorted({name.split(".")[0] for name in FILES} - {BARE})
NATIVE_NAMES = [name for name in NAMES if not name.startswith("vf")]
# What the names in the documents mean, to the package and to the sheet.
HOSTS = (
    NicDefinition("lan", "eth0", HostType.ETHERNET, bridge="br-lan"),
    NicDefinition("wan", "eth1", HostType.ETHERNET, (Mode.PEPA, Mode.VEPA, Mode.BRIDGE)),
)
HOSTS_PARAMETER = "lan=eth0:vepa:br-lan wan=eth1:pepa"
# What interfaces without a MAC are given.
MACS = tuple(f"52:54:00:00:ff:{number:02x}" for number in range(1, 10))


def source(name: str) -> str:
    """Return which of a case's documents becomes the stored one."""
    return next(kind for kind in SOURCES if f"{name}.{kind}.xml" in FILES)


def document(name: str, kind: str) -> bytes:
    return (FOLDER / f"{name}.{kind}.xml").read_bytes()


def canonical(data: bytes) -> bytes:
    """Return a document in canonical XML."""
    result = io.BytesIO()
    etree.ElementTree(etree.fromstring(data)).write_c14n(result)
    return result.getvalue()


def without_blanks(data: bytes) -> bytes:
    """Return a document in canonical XML, blank text left out."""
    return canonical(etree.tostring(clear_blanks(etree.fromstring(data))))


def clear_blanks(root: Any) -> Any:
    for element in root.iter():
        if not (element.text or "").strip():
            element.text = None if isinstance(element.tag, str) else element.text
        if not (element.tail or "").strip():
            element.tail = None
    return root


def xsltproc(sheet: str, data: bytes, **parameters: str) -> bytes:
    """Run a sheet as users do."""
    given = [word for name, value in parameters.items() for word in ("--stringparam", name, value)]
    done = subprocess.run(
        ("xsltproc", "--nonet", *given, SHEETS / sheet, "-"), input=data, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    return done.stdout


def xmllint(schema: str, documents: Iterable[bytes], folder: Path) -> list[bool]:
    """Return for each document whether it follows a schema, as `xmllint` sees it."""
    files = [folder / f"{number}.xml" for number, _ in enumerate(documents)]
    for file, data in zip(files, documents, strict=True):
        file.write_bytes(data)
    done = subprocess.run(
        ("xmllint", "--noout", "--relaxng", SHEETS / schema, *files),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    verdicts = set(done.stderr.splitlines())
    assert all((f"{file} validates" in verdicts) != (f"{file} fails to validate" in verdicts) for file in files)
    return [f"{file} validates" in verdicts for file in files]


def requests(data: bytes) -> list[Any]:
    """Return the interfaces of a document that are in the proposed form, each a document of its own."""
    root = etree.fromstring(data)
    found = root.xpath("(/interface | //devices/interface[not(ancestor::metadata)])[@type = 'physical']")
    return [etree.fromstring(etree.tostring(each, with_tail=False)) for each in found]
