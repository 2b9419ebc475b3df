"""A Markdown table, and an estimate as it stands in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fits.hypotheses import Estimate

__all__ = ["said", "table"]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: heading, rule, rows. A bar in a cell would end it, and is another character."""
    return [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in rows),
    ]


def said(one: Estimate, spec: str) -> str:
    """A value and its interval, if it has one."""
    if one.ci is None:
        return f"{one.value:{spec}}"
    return f"{one.value:{spec}} [{one.ci[0]:{spec}}, {one.ci[1]:{spec}}]"
