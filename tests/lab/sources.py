# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Print the machine's apt sources as one-line entries of another kind: for sources, for another suite or release.

    sources.py deb|deb-src [SUITE]
    sources.py release CODENAME

Reads both formats (sources.list(5)). With a suite, only the distribution's own archive is meant: the entries
that have the suite of /etc/os-release's code name. `release` prints the entries of another release in place of these.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

APT = Path("/etc/apt")


@dataclass(frozen=True)
class Source:
    """One place of packages."""

    uri: str
    suite: str
    components: str
    options: str


def _modern(path: Path) -> Iterator[Source]:
    with path.open(encoding="utf-8") as file:
        for stanza in Deb822.iter_paragraphs(file):
            signed = stanza.get("Signed-By", "").strip()
            # A key may also stand there in full, which the one-line format cannot hold; apt's own keyrings serve.
            options = f"signed-by={signed}" if signed.startswith("/") else ""
            for uri in stanza.get("URIs", "").split():
                for suite in stanza.get("Suites", "").split():
                    yield Source(uri, suite, stanza.get("Components", ""), options)


def _classic(path: Path) -> Iterator[Source]:
    for line in path.read_text(encoding="utf-8").splitlines():
        words, options = line.split("#")[0].split(), ""
        if not words or words[0] != "deb":
            continue
        if words[1].startswith("["):
            end = next(number for number, word in enumerate(words) if word.endswith("]"))
            options = " ".join(words[1 : end + 1]).strip("[] ")
            words[1 : end + 1] = []
        yield Source(words[1], words[2], " ".join(words[3:]), options)


def sources() -> Iterator[Source]:
    """Yield all that the machine's apt reads."""
    for path in sorted([APT / "sources.list", *(APT / "sources.list.d").glob("*.list")]):
        if path.is_file():
            yield from _classic(path)
    for path in sorted((APT / "sources.list.d").glob("*.sources")):
        yield from _modern(path)


def entry(kind: str, source: Source, suite: str) -> str:
    """Return a source as one line, with another suite."""
    options = f"[{source.options}] " if source.options else ""
    return f"{kind} {options}{source.uri} {suite} {source.components}"


def main(kind: str, suite: str = "") -> None:
    """Print the entries."""
    base = platform.freedesktop_os_release()["VERSION_CODENAME"]
    lines = []
    for source in sources():
        if not source.suite.startswith(base) or "main" not in source.components.split():
            continue
        if kind == "release":
            lines.append(entry("deb", source, suite + source.suite.removeprefix(base)))
            continue
        lines.append(entry(kind, source, source.suite))
        if suite and source.suite == base:
            lines.append(entry(kind, source, suite))
    print("\n".join(dict.fromkeys(lines)))


main(*sys.argv[1:])
