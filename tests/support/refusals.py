# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a refusal looks to a person, whatever it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from libvirt_vepa.errors import VepaError


def refusal(call: Callable[..., Any], *arguments: Any, kind: type[VepaError] = VepaError) -> str:
    """Return the one line with which a call refuses: where, what, and what to do about it."""
    with pytest.raises(kind) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.isprintable() and len(text.splitlines()) == 1, text
    assert caught.value.what and caught.value.remedy, text
    return text
