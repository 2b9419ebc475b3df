"""`verigap rest-points`: where training with a KL penalty comes to rest."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

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
    import theory
    from theory import rest_points as law

    found = law.rest_points(
        theory.VerifierChannel(fpr, fnr),
        beta=beta,
        reference_pass_rate=reference_pass_rate,
        form=form.value,
        group_size=group_size,
        estimator=theory.estimator_named(estimator),
    )
    document: dict[str, Any] = {
        "rest_points": found.points,
        "attracting_boundaries": found.attracting_boundaries,
    }

    def show(console: Console) -> None:
        from rich.table import Table

        group = "infinite group" if group_size is None else f"{group_size} rollouts"
        table = Table(title=f"{form.value}, beta {beta:g}, fpr {fpr:g}, fnr {fnr:g}, {group}")
        table.add_column("pass rate", justify="right")
        table.add_column("is")
        rows = [
            (point.pass_rate, "stable" if point.stable else "unstable") for point in found.points
        ]
        rows += [(end, "an attracting boundary") for end in found.attracting_boundaries]
        for rate, kind in sorted(rows):
            table.add_row(f"{rate:.6g}", kind)
        console.print(table)

    emit(document, as_json=json, show=show)
