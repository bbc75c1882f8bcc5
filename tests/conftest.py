# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all tests share: which tiers can run on this machine, and a closing word on what did not run.

Five tiers change the host, so they run only inside the lab (tests/lab/enter), where the host is a private one; a
fifth needs cards that only a machine of the lab's own has (tests/lab/boot).
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

LAB_TIERS = ("kernel", "hook", "libvirt", "install", "host")
CARD_TIER = "sriov"
DEVICE_TIERS = ("kernel", "hook", "libvirt")
# Each is tried in turn; what was made is removed again by deleting the first name.
PROBES = {
    "veth": ("add", "probe0", "type", "veth", "peer", "name", "probe1"),
    "macvtap": ("add", "link", "probe1", "name", "probe2", "type", "macvtap", "mode", "vepa"),
    "bridge": ("add", "probe3", "type", "bridge"),
}
# What may be left out where everything has to run (CI is set, as tests/check does it), by its reason: what no machine
# with such a kernel can run. All else that is not run counts as failed there.
EXCUSED = (r"no (veth|macvtap|bridge|tun) in this kernel \(.*(Unknown device type|not supported|No such file)",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = obstacle(tier(item.nodeid))
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def tier(nodeid: str) -> str:
    """Return the folder below tests/ that a test lives in."""
    parts = nodeid.partition("::")[0].split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "tests" else parts[0]


@functools.cache
def obstacle(name: str) -> str:
    """Return why a tier cannot run here, or nothing."""
    lab = os.environ.get("LIBVIRT_VEPA_LAB")
    if name == CARD_TIER:
        return "" if lab == "card" else "it needs SR-IOV cards: make lab"
    if name not in LAB_TIERS:
        return ""
    if not lab:
        return "it changes the host, so it runs only in the lab: tests/lab/enter /usr/bin/python3 -m pytest"
    if os.geteuid() != 0:
        return "it needs root"
    return missing_feature() if name in DEVICE_TIERS else ""


@functools.cache
def missing_feature() -> str:
    """Return which kind of device this kernel cannot make, found by making one of each; or nothing."""
    try:
        for kind, command in PROBES.items():
            made = subprocess.run(("ip", "link", *command), capture_output=True, text=True, check=False)
            if made.returncode:
                return f"no {kind} in this kernel ({made.stderr.strip()})"
        tap = subprocess.run(
            ("ip", "tuntap", "add", "probe4", "mode", "tap"), capture_output=True, text=True, check=False
        )
        return f"no tun in this kernel ({tap.stderr.strip()})" if tap.returncode else ""
    except FileNotFoundError:
        return "no 'ip' on this machine (package iproute2)"
    finally:
        for device in ("probe4", "probe3", "probe2", "probe0"):
            subprocess.run(("ip", "link", "delete", device), capture_output=True, check=False)


def not_run(reporter: pytest.TerminalReporter) -> Iterator[tuple[str, str, int]]:
    """Yield tier, reason and number of what was skipped."""
    skipped = reporter.stats.get("skipped", [])
    counts = Counter((tier(report.nodeid), _reason(report)) for report in skipped)
    yield from ((name, reason, count) for (name, reason), count in sorted(counts.items()))


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else "unknown"


def excused(reason: str) -> bool:
    """Tell whether a test may be left out for that reason."""
    return any(re.match(pattern, reason) for pattern in EXCUSED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = list(not_run(terminalreporter))
    if not rows:
        return
    terminalreporter.section("not run")
    for name, reason, count in rows:
        verdict = "; counts as failed, because CI is set" if os.environ.get("CI") and not excused(reason) else ""
        terminalreporter.line(f"{name}: {count} test{'s' if count > 1 else ''}: {reason}{verdict}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    missed = [reason for _, reason, _ in not_run(reporter) if not excused(reason)]
    if os.environ.get("CI") and session.exitstatus == pytest.ExitCode.OK and missed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
