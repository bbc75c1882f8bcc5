# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rooms of the house: imports go downward only, and each thing outside has one owner."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "libvirt_vepa"
FLOORS = {
    0: {"errors", "version"},
    1: {
        "arguments",
        "addresses",
        "settings",
        "model",
        "files",
        "journal",
        "kept",
        "attributes",
        "default_uri",
        "tables",
    },
    2: {
        "documents",
        "repair",
        "elements",
        "hardware",
        "definitions",
        "stored",
        "domain",
        "translate",
        "asked",
        "sysfs",
        "netlink",
        "filter",
        "links",
        "exchange",
        "vfs",
        "embedded",
        "features",
        "pci",
        "events",
        "locks",
        "state",
        "sharing",
        "daemon",
        "launcher",
        "metadata",
        "wire",
        "xdr",
        "protocol",
        "peer",
        "listening",
    },
    3: {
        "host",
        "facts",
        "operations",
        "inventory",
        "cards",
        "virtual",
        "siblings",
        "side",
        "jobs",
        "hand",
        "nics",
        "session",
        "users",
    },
    4: {"known", "retire", "placement", "draft", "plan", "messages", "hotplug", "boot", "dropin"},
    5: {"apply", "guests", "reconcile", "status", "relay", "interfaces", "opening", "pump", "access", "enable"},
    6: {"hook", "cli", "connection", "service", "__main__"},
}
# Inside one floor only these, so that there can be no circle.
NEIGHBOURS = {
    "model": {"addresses", "settings"},
    "documents": {"repair"},
    "elements": {"documents"},
    "hardware": {"elements"},
    "definitions": {"documents", "elements", "hardware"},
    "domain": {"documents", "stored"},
    "translate": {"documents", "asked"},
    "metadata": {"documents"},
    "daemon": {"metadata"},
    "asked": {"documents", "stored"},
    "state": {"locks", "sharing"},
    "operations": {"host"},
    "cards": {"operations", "host", "inventory"},
    "plan": {"placement", "draft"},
    "facts": {"inventory"},
    "nics": {"facts"},
    "virtual": {"operations", "host"},
    "siblings": {"operations", "host", "virtual"},
    "netlink": {"links", "vfs", "embedded", "features", "pci"},
    "links": {"exchange"},
    "vfs": {"links", "exchange"},
    "embedded": {"links", "exchange", "vfs"},
    "features": {"links", "exchange"},
    "pci": {"sysfs", "events"},
    "guests": {"apply"},
    "reconcile": {"apply", "guests"},
    "status": {"apply"},
    "protocol": {"wire", "xdr"},
    "wire": {"xdr"},
    "hand": {"jobs"},
    "hotplug": {"messages"},
    "listening": {"peer"},
    "opening": {"relay"},
    "access": {"opening"},
    "enable": {"access"},
    "pump": {"relay"},
    "__main__": {"cli"},
}
OWNERS = {
    "pyroute2": {"netlink", "links"},
    "nftables": {"filter"},
    "lxml": {"documents", "definitions", "domain", "translate", "asked", "metadata"},
    "libvirt": {"daemon"},
}
PATHS = {"/sys/": {"sysfs", "pci"}, "/run/libvirt/vepa": {"state"}}
MODULE_LINES, FUNCTION_LINES = 300, 60

MODULES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.glob("*.py"))}
NAMES = sorted(set(MODULES) - {"__init__"})


def floor(name: str) -> int:
    return next(number for number, names in FLOORS.items() if name in names)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of every module that is imported anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they go"
            if node.module == "libvirt_vepa":
                yield from (f"libvirt_vepa.{alias.name}" for alias in node.names)
            else:
                yield node.module


def own(tree: ast.AST) -> set[str]:
    return {name.split(".")[1] for name in imported(tree) if name.startswith("libvirt_vepa.")}


def docstrings(tree: ast.AST) -> set[int]:
    holders = (node for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list) and node.body)
    firsts = (node.body[0] for node in holders)
    return {id(first.value) for first in firsts if isinstance(first, ast.Expr)}


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield every string that is not a docstring."""
    skip = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip:
            yield node.value


def test_every_module_has_its_floor():
    assert set(NAMES) == set().union(*FLOORS.values())


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_downward_only(name):
    upward = {
        other
        for other in own(MODULES[name])
        if floor(other) >= floor(name) and other not in NEIGHBOURS.get(name, set())
    }
    assert not upward, f"{name} (floor {floor(name)}) must not import {sorted(upward)}"


@pytest.mark.parametrize(("library", "owners"), OWNERS.items())
def test_each_library_has_its_owners(library, owners):
    users = {name for name in NAMES if any(module.split(".")[0] == library for module in imported(MODULES[name]))}
    assert users <= owners


@pytest.mark.parametrize(("path", "owners"), PATHS.items())
def test_each_place_on_the_host_has_one_owner(path, owners):
    users = {name for name in NAMES if any(path in text for text in texts(MODULES[name]))}
    assert users == owners


def test_the_package_itself_is_empty():
    assert (PACKAGE / "__init__.py").read_text().strip() == ""


@pytest.mark.parametrize("name", NAMES)
def test_no_module_is_long(name):
    lines = len((PACKAGE / f"{name}.py").read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES, f"{name}.py has {lines} lines"


@pytest.mark.parametrize("name", NAMES)
def test_no_function_is_long(name):
    functions = (node for node in ast.walk(MODULES[name]) if isinstance(node, ast.FunctionDef))
    long = {node.name for node in functions if node.end_lineno - node.lineno >= FUNCTION_LINES}
    assert not long
