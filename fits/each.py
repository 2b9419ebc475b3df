"""Pieces of work that do not depend on each other: here in turn, or wherever a caller sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

__all__ = ["Each", "in_turn"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """Call a function of a module on every item; results in the order of the items.

    Both can be pickled, so that another process may do it.
    """

    def __call__(
        self, function: Callable[[Item], Result], items: Sequence[Item], /
    ) -> Iterable[Result]:
        """The results."""
        ...


def in_turn(function: Callable[[Item], Result], items: Sequence[Item], /) -> list[Result]:
    """Each item after the other, in this process."""
    return [function(item) for item in items]
