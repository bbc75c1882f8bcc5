# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `make bench` prints of what it has measured."""

from __future__ import annotations

import pytest

from tests.lab.bench.table import Goal, Table

# The median pair is 30 ms against 10 ms; the last pair was slow on both sides.
PAIRS = [(0.020, 0.010), (0.030, 0.010), (0.400, 0.100)]


@pytest.mark.parametrize(
    ("goal", "met", "text"),
    [
        (Goal(3), True, "<= 3 x"),
        (Goal(2.9), False, "<= 2.9 x"),
        (Goal(beyond=30), True, "<= 30 ms"),
        (Goal(beyond=29), False, "<= 29 ms"),
        (Goal(1, 20), True, "<= 1 x + 20 ms"),
        (Goal(1, 19), False, "<= 1 x + 19 ms"),
    ],
)
def test_a_goal_is_met_by_the_median_pair(goal: Goal, met: bool, text: str) -> None:
    assert (goal.is_met(PAIRS), str(goal)) == (met, text)


def test_a_row_has_the_goals_and_whether_each_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(30)
    table.row("this : that", PAIRS, (Goal(beyond=40), Goal(2)))
    table.row("without a goal", PAIRS, ())
    _, row, other = (line.split() for line in capsys.readouterr().out.splitlines())
    assert row == ["this", ":", "that", "30.0", "10.0", "3.00", "<=", "40", "ms,", "<=", "2", "x", "yes,", "no"]
    assert other == ["without", "a", "goal", "30.0", "10.0", "3.00"] and table.missed == 1


def test_both_take_turns_and_the_first_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []
    one, other = [lambda: done.append("1a"), lambda: done.append("1b")], [lambda: done.append("2")] * 2
    Table(5).compare_steps({"a": (), "b": ()}, one, other, runs=2)
    assert done == ["1a", "1b", "2", "2"] * 3
    assert len(capsys.readouterr().out.splitlines()) == 3
