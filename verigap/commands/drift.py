"""`verigap drift`: the exact finite-group moments of one prompt's gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit

if TYPE_CHECKING:
    from rich.console import Console


def drift(
    *,
    pass_rate: Annotated[float, typer.Option(help="P(right) on the prompt, in [0, 1].")],
    fpr: Annotated[float, typer.Option(help="P(reward 1 | wrong), in [0, 1].")] = 0.0,
    fnr: Annotated[float, typer.Option(help="P(reward 0 | right), in [0, 1].")] = 0.0,
    group_size: Annotated[int, typer.Option(help="Rollouts per prompt, at least 2.")] = 8,
    estimator: Annotated[
        str, typer.Option(help="grpo, dr_grpo, rloo, grpo_loo, nemo_loo or reinforce.")
    ] = "grpo",
    json: Json = False,
) -> None:
    """Exact moments of one prompt's policy gradient, and what its rollouts are worth."""
    from verigap.face import exact

    moments = exact.drift(pass_rate, fpr=fpr, fnr=fnr, group_size=group_size, estimator=estimator)

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table(title=moments.headline())
        table.add_column("quantity")
        table.add_column("value", justify="right")
        table.add_column("meaning")
        document = moments.plain()
        for key, meaning in exact.MEANING.items():
            value = document[key]
            shown = "-" if value is None else f"{value:.6g}"
            table.add_row(key, shown, meaning if value is not None else document[f"{key}_reason"])
        console.print(table)

    emit(moments, as_json=json, show=show)
