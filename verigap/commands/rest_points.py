"""`verigap rest-points`: where training with a KL penalty comes to rest."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit

if TYPE_CHECKING:
    from rich.console import Console


class Form(StrEnum):
    """How the KL enters; see `theory.rest_points`."""

    objective = "objective"
    rlver = "rlver"
    k3 = "k3"


def rest_points(
    *,
    fpr: Annotated[float, typer.Option(help="P(reward 1 | wrong), in [0, 1].")] = 0.0,
    fnr: Annotated[float, typer.Option(help="P(reward 0 | right), in [0, 1].")] = 0.0,
    beta: Annotated[float, typer.Option(help="Weight of the KL, at least 0.")],
    reference_pass_rate: Annotated[
        float, typer.Option(help="P(right) of the reference policy, inside (0, 1).")
    ],
    form: Annotated[
        Form,
        typer.Option(
            help="objective: exact KL in the objective. rlver: as printed in arXiv 2601.04411. "
            "k3: the estimator trainers put in the loss."
        ),
    ] = Form.objective,
    group_size: Annotated[
        int | None, typer.Option(help="Rollouts per prompt; left out: an infinite group.")
    ] = None,
    estimator: Annotated[
        str, typer.Option(help="grpo, dr_grpo, rloo, grpo_loo, nemo_loo or reinforce.")
    ] = "grpo",
    json: Json = False,
) -> None:
    """All rest points of one prompt's pass rate under a KL penalty, and which of them attract."""
    from verigap.face import exact

    found = exact.rest_points(
        fpr=fpr,
        fnr=fnr,
        beta=beta,
        reference_pass_rate=reference_pass_rate,
        form=form.value,
        group_size=group_size,
        estimator=estimator,
    )

    def show(console: Console) -> None:
        from rich.table import Table

        console.print(found.headline(), style="italic", highlight=False)
        table = Table()
        table.add_column("pass rate", justify="right")
        table.add_column("is")
        for rate, kind in found.to_frame().itertuples(index=False):
            table.add_row(f"{rate:.6g}", kind)
        console.print(table)

    emit(found, as_json=json, show=show)
