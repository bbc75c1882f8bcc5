# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Frames that come back: the one place that speaks nftables.

A switch that reflects sends a frame back to the NIC that it came from, and the NIC hands it to every VF that it is
meant for: its sender too, where it is a broadcast. Nothing but its source tells such a frame from another, so the
source is what is looked at, at the netdev ingress of the VF, which is before a macvtap on it.

A NIC has a table while one of its VFs is filtered. The table holds one chain for each such VF, the map `siblings` with
the MACs of all VFs of that NIC, and the chain `reflected`, which drops. Rules drop a frame by a jump to `reflected`.
The kernel deletes no chain that a rule jumps to (nf_tables_delchain in net/netfilter/nf_tables_api.c), so deleting the
table fails with EBUSY while any VF is filtered, even if another process adds one at the same time.

What changes something is one transaction that says how things shall be, whatever they were; before or after it the
table itself is made or removed. HostError where the binding or the kernel's part is missing, KernelError for what the
kernel refuses.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from libvirt_vepa.errors import HostError, KernelError, VepaError, not_installed
from libvirt_vepa.model.address import MacAddress, NicKey

# In the words of libnftables-json(5).
Command = dict[str, Any]

NETLINK_NETFILTER = 12  # linux/netlink.h
SIBLINGS, DROPPING = "siblings", "reflected"
SOURCE = {"payload": {"protocol": "ether", "field": "saddr"}}
DROP = {"jump": {"target": DROPPING}}
HOOK = {"type": "filter", "hook": "ingress", "prio": 0, "policy": "accept"}
# What a kernel answers that was built without nf_tables, its netdev family or its ingress hook.
MISSING = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EINVAL)
REMEDIES = {
    errno.EPERM: "run as root with CAP_NET_ADMIN",
    errno.ENODEV: "the device has gone; see that nothing else manages it, then try again",
    errno.ENOENT: "the device has gone; see that nothing else manages it, then try again",
}


# How the text of a table tells of each chain that is hooked, and at which device.
HOOKED = re.compile(r"chain (\S+) {\s+type filter hook ingress devices? (?:= { )?\"?(.*?)\"?(?: })? priority")


@dataclass(frozen=True)
class Table:
    """What is in a NIC's table, itself included, by kind, and the device of each chain that is hooked, by its name."""

    content: defaultdict[str, list[Any]]
    hooked: Mapping[str, str]


def read(nic: NicKey) -> Table:
    """Return a NIC's table as it is now; nothing is in one that is not there."""
    content = _content(nic)
    # libnftables 1.0.6 tells the device in its text only.
    text = _binding().cmd(f"list table netdev {_table_of(nic)}")[1] if content["chain"] else ""
    return Table(content, dict(HOOKED.findall(text)))


def install(nic: NicKey, device: str, mac: MacAddress, siblings: bool) -> None:
    """Keep from a VF's netdev what its guest, which has that MAC, sent itself; with `siblings` what any member sent.

    What was there for that guest is replaced, without a moment in which neither is in force.
    """
    action = f"keep reflected frames from {device}"
    # Newer kernels accept a hook at a device that is not there (yet).
    if not _is_there(device):
        raise _refused(action, errno.ENODEV)
    name = _chain_of(mac)
    hook = {"add": _in(nic, "chain", name=name, dev=device, **HOOK)}
    rules = ({"add": _in(nic, "rule", chain=name, expr=expr)} for expr in _rules(mac, siblings))
    # A table that somebody has put to sleep: the kernel does not wake it and change a chain of it at once.
    _run(action, {"add": _table(nic)})
    _run(action, *_foundation(nic), *_without(nic, name), hook, *rules)


def is_installed(
    nic: NicKey, device: str, mac: MacAddress, siblings: bool, read: Callable[[NicKey], Table] = read
) -> bool:
    """Tell whether just that is in force, by the table that `read` returns."""
    table, name = read(nic), _chain_of(mac)
    found, rules = table.content, defaultdict(list)
    for rule in found["rule"]:
        rules[rule["chain"]].append(rule["expr"])
    return (
        _is_there(device)
        and not any("flags" in each for each in found["table"])
        and any(chain["name"] == name and HOOK.items() <= chain.items() for chain in found["chain"])
        and table.hooked.get(name) == device
        and rules[name] == _rules(mac, siblings)
        and rules[DROPPING] == [[{"drop": None}]]
        and any(each["name"] == SIBLINGS for each in found["map"])
    )


def remove(nic: NicKey, mac: MacAddress) -> None:
    """Let all frames through to the guest with that MAC again; nothing there is fine."""
    action = f"let all frames through to {mac}"
    if not _content(nic)["table"]:
        return
    code, _ = _talk(_without(nic, _chain_of(mac)))
    if code not in (0, errno.ENOENT):
        raise _refused(action, code)
    if len(_content(nic)["chain"]) > 1:
        return
    # What jumps goes first. Another process may have protected a VF since.
    emptied = [_flushed(nic), {"delete": _in(nic, "chain", name=DROPPING)}]
    code, _ = _talk([*_foundation(nic), *emptied, {"delete": _table(nic)}])
    if code not in (0, errno.EBUSY):
        raise _refused(action, code)


def set_vf_macs(nic: NicKey, macs: Iterable[MacAddress]) -> None:
    """Make these the MACs of all VFs of a NIC; of no interest where none is protected, nor can be."""
    if not _is_possible():
        return
    known = [{"add": _in(nic, "element", name=SIBLINGS, elem=[[str(mac), DROP]])} for mac in sorted(set(macs))]
    code, _ = _talk([_flushed(nic), *known])
    if code not in (0, errno.ENOENT, *MISSING):
        raise _refused(f"tell the filters of {nic} the MACs of its VFs", code)


def vf_macs(nic: NicKey, read: Callable[[NicKey], Table] = read) -> frozenset[MacAddress] | None:
    """Return what `set_vf_macs` has made known, by the table that `read` returns; None where nobody needs it."""
    if not _is_possible():
        return None
    found = [each for each in read(nic).content["map"] if each["name"] == SIBLINGS]
    return frozenset(MacAddress.parse(mac) for mac, _ in found[0].get("elem", ())) if found else None


def _is_possible() -> bool:
    """Tell whether the binding is there, without which nobody can be protected."""
    return find_spec("nftables") is not None


def _is_there(device: str) -> bool:
    try:
        return bool(socket.if_nametoindex(device))
    except OSError:
        return False


def _escaped(name: str) -> str:
    """Return a device's name in what nft allows in a name; `/`, which it does, is in no device's."""
    return re.sub(r"[^A-Za-z0-9_.-]", lambda found: "".join(f"/{byte:02x}" for byte in found[0].encode()), name)


def _chain_of(mac: MacAddress) -> str:
    # The netdev may be called otherwise, or be gone, by the time that the chain must go.
    return f"vf-{mac.digits}"


def _table_of(nic: NicKey) -> str:
    return f"libvirt-vepa-{_escaped(nic)}"


def _table(nic: NicKey) -> Command:
    return {"table": {"family": "netdev", "name": _table_of(nic)}}


def _in(nic: NicKey, kind: str, **what: Any) -> Command:
    """Return an object of a NIC's table."""
    return {kind: {"family": "netdev", "table": _table_of(nic), **what}}


def _rules(mac: MacAddress, siblings: bool) -> list[list[Command]]:
    own: list[Command] = [{"match": {"op": "==", "left": SOURCE, "right": str(mac)}}, DROP]
    return [own, [{"vmap": {"key": SOURCE, "data": f"@{SIBLINGS}"}}]] if siblings else [own]


def _foundation(nic: NicKey) -> list[Command]:
    """Return what makes a table without VFs, and leaves those that are in one."""
    dropping = _in(nic, "chain", name=DROPPING)
    return [
        {"add": _table(nic)},
        {"add": dropping},
        {"flush": dropping},
        {"add": _in(nic, "rule", chain=DROPPING, expr=[{"drop": None}])},
        {"add": _in(nic, "map", name=SIBLINGS, type="ether_addr", map="verdict")},
    ]


def _without(nic: NicKey, name: str) -> list[Command]:
    """Return what deletes a chain and its rules, whether it is there or not."""
    chain = _in(nic, "chain", name=name)
    return [{"add": chain}, {"flush": chain}, {"delete": chain}]


def _flushed(nic: NicKey) -> Command:
    return {"flush": _in(nic, "map", name=SIBLINGS)}


def _content(nic: NicKey) -> defaultdict[str, list[Any]]:
    """Return what is in a NIC's table, itself included, by kind; nothing where there is none."""
    code, told = _talk([{"list": _table(nic)}])
    if code and code not in (errno.ENOENT, *MISSING):
        raise _refused(f"read the table of {nic}", code)
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for each in told:
        for kind, what in each.items():
            found[kind].append(what)
    return found


def _run(action: str, *commands: Command) -> None:
    """Carry out a transaction."""
    code, _ = _talk(list(commands))
    if code:
        raise _refused(action, code)


def _talk(commands: list[Command]) -> tuple[int, list[Command]]:
    """Give commands to nftables, all or none; return the error number that the kernel gave, and what it told."""
    try:
        code, told, said = _binding().json_cmd({"nftables": commands})
    except ValueError:
        # Where somebody has put the table to sleep, libnftables 1.0.6 reads names of flags that it has not,
        # and may break off there.
        return 0, [{"table": {"flags": "dormant"}}]
    except OSError as error:
        return error.errno or errno.EIO, []
    if code == 0:
        return 0, told["nftables"] if told else []
    known = (errno.EPERM, errno.ENOENT, errno.EBUSY, errno.EEXIST, *MISSING)
    return next((number for number in known if os.strerror(number) in said), errno.EIO), []


def _binding() -> Any:
    """Return a new way to libnftables, which is loaded only here: few guests are on VFs."""
    if os.geteuid():
        # The library would say so too, but to stderr.
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    # Where there is no such socket the library would end the process.
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER).close()
    try:
        import nftables
    except ImportError as error:
        raise not_installed(error) from error
    return nftables.Nftables()


def _refused(action: str, code: int) -> VepaError:
    if code in MISSING:
        needs = "use one with CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_INGRESS"
        return HostError(f"cannot {action}: the kernel has no nftables for network devices", needs)
    return KernelError(f"cannot {action}: {os.strerror(code)}", REMEDIES.get(code, "see `nft list ruleset`"))
