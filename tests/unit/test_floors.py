# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who owns what outside the package; that imports go downward only is for `make lint` to say."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "libvirt_vepa"
# Modules and packages, by the names that they have below libvirt_vepa.
DOORS = {"__main__", "cli", "hook", "connection", "helper"}
LIBRARIES = {
    "pyroute2": {"kernel"},
    "nftables": {"kernel.nftables"},
    "lxml": {"xml"},
    "libvirt": {"libvirtd.client"},
}
PATHS = {"/sys/": {"kernel.sysfs", "kernel.pci"}, "/run/libvirt/vepa": {"store.store"}}
ATTRIBUTES = {"AF_NETLINK": {"kernel"}, "argv": DOORS, "stdin": DOORS, "exit": DOORS}
MODULE_LINES, FUNCTION_LINES = 300, 35

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of every module that is imported anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "relative imports hide where they go"
            yield node.module


def docstrings(tree: ast.AST) -> set[int]:
    bodies = (getattr(node, "body", None) for node in ast.walk(tree))
    firsts = (body[0] for body in bodies if isinstance(body, list) and body)
    return {id(first.value) for first in firsts if isinstance(first, ast.Expr)}


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield every string that is not a docstring."""
    skip = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip:
            yield node.value


def owned(users: set[str], owners: set[str]) -> bool:
    """Tell whether all users are owners, or in a package that is one."""
    return all(user in owners or user.partition(".")[0] in owners for user in users)


@pytest.mark.parametrize(("library", "owners"), LIBRARIES.items())
def test_each_library_has_its_owners(library: str, owners: set[str]) -> None:
    users = {name for name, tree in MODULES.items() if any(each.split(".")[0] == library for each in imported(tree))}
    assert users and owned(users, owners), users


@pytest.mark.parametrize(("path", "owners"), PATHS.items())
def test_each_place_on_the_host_has_its_owners(path: str, owners: set[str]) -> None:
    users = {name for name, tree in MODULES.items() if any(path in text for text in texts(tree))}
    assert users == owners


@pytest.mark.parametrize(("attribute", "owners"), ATTRIBUTES.items())
def test_each_part_of_the_system_has_its_owners(attribute: str, owners: set[str]) -> None:
    users = {
        name
        for name, tree in MODULES.items()
        if any(isinstance(node, ast.Attribute) and node.attr == attribute for node in ast.walk(tree))
    }
    assert users and owned(users, owners), users


@pytest.mark.parametrize("name", sorted(MODULES.keys() - DOORS))
def test_no_module_names_another_in_a_string(name: str) -> None:
    """Of the doors, the connection names the helper, which it starts as a program."""
    assert not [text for text in texts(MODULES[name]) if "libvirt_vepa." in text]


def test_the_helper_loads_nothing_of_the_clients_relay() -> None:
    program = "import sys, libvirt_vepa.helper; print(*sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", program), cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "libvirt_vepa.lifecycle.guest" in loaded
    assert [name for name in loaded if name.startswith("libvirt_vepa.proxy")] == []


def test_packages_hold_no_code() -> None:
    assert [path.read_text() for path in PACKAGE.rglob("__init__.py") if path.read_text().strip()] == []


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_long(name: str) -> None:
    lines = len(PACKAGE.joinpath(*name.split(".")).with_suffix(".py").read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES, f"{name} has {lines} lines"


@pytest.mark.parametrize("name", MODULES)
def test_no_function_is_long(name: str) -> None:
    functions = (node for node in ast.walk(MODULES[name]) if isinstance(node, ast.FunctionDef))
    spans = [(node.name, node.lineno, node.end_lineno) for node in functions]
    assert not [each for each, first, last in spans if last is None or last - first >= FUNCTION_LINES]
