# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured, what it is compared with, and the goals, as one table.

Each thing and what it is compared with take turns, so that a slow moment hits both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Action = Callable[[], object]
# Seconds of the one and of the other.
Pair = tuple[float, float]
HEAD = ("milliseconds, medians", "this", "other", "ratio", "goal", "met")
LINE = "{:58}{:>9}{:>9}{:>8}  {:22}{}"


@dataclass(frozen=True)
class Goal:
    """At most so many times what the other takes, and so many milliseconds beyond."""

    times: float = 0.0
    beyond: float = 0.0

    def is_met(self, pairs: Sequence[Pair]) -> bool:
        """Tell whether the median pair meets it."""
        return statistics.median(one - self.times * other for one, other in pairs) * 1000 <= self.beyond

    def __str__(self) -> str:
        parts = (f"{self.times:g} x" if self.times else "", f"{self.beyond:g} ms" if self.beyond else "")
        return "<= " + " + ".join(filter(None, parts))


class Table:
    """The rows so far, which are printed as they come; `runs` is how many pairs make one, where none says fewer."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.missed = 0
        print(LINE.format(*HEAD), flush=True)

    def compare(self, name: str, one: Action, other: Action, *goals: Goal, runs: int | None = None) -> None:
        """Do the one and the other in turns, and print a row."""
        self.compare_steps({name: goals}, [one], [other], runs)

    def compare_steps(
        self,
        rows: dict[str, tuple[Goal, ...]],
        one: Sequence[Action],
        other: Sequence[Action],
        runs: int | None = None,
    ) -> None:
        """Do all steps of the one and of the other in turns, and print a row for each step that has a name.

        The first turn is not counted. `runs` bounds the number of pairs.
        """
        for step in (*one, *other):
            step()
        taken = [(_times(one), _times(other)) for _ in range(min(self.runs, runs or self.runs))]
        for number, (name, goals) in enumerate(rows.items()):
            self.row(name, [(mine[number], theirs[number]) for mine, theirs in taken], goals)

    def row(self, name: str, pairs: Sequence[Pair], goals: Sequence[Goal]) -> None:
        """Print a row: medians, the median of the pairs' ratios, and of each goal whether the median pair meets it."""
        one, other = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
        ratio = statistics.median(mine / theirs for mine, theirs in pairs)
        met = [goal.is_met(pairs) for goal in goals]
        self.missed += met.count(False)
        words = ", ".join("yes" if each else "no" for each in met)
        goal = ", ".join(map(str, goals))
        print(LINE.format(name, f"{one:.1f}", f"{other:.1f}", f"{ratio:.2f}", goal, words).rstrip(), flush=True)


def _times(steps: Sequence[Action]) -> tuple[float, ...]:
    return tuple(map(_seconds, steps))


def _seconds(action: Action) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin
