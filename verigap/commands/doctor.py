"""`verigap doctor`: what this machine can and cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verigap.console import Json, emit

if TYPE_CHECKING:
    from rich.console import Console


def doctor(*, json: Json = False) -> None:
    """Say what this machine can and cannot do, and what would make it able."""
    from empirical.machine import examine

    report = examine()

    def show(console: Console) -> None:
        from rich.table import Table

        machine = report.machine
        console.print(
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB,"
            f" GPUs: {', '.join(machine['gpus']) or 'none'}",
            highlight=False,
        )
        table = Table()
        for column in ("can", "", "why, or what is missing"):
            table.add_column(column)
        for check in report.checks:
            table.add_row(check.name, "yes" if check.able else "no", check.reason)
        console.print(table)

    emit(report, as_json=json, show=show)
