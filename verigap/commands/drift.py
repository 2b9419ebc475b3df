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
    """Exact drift, variance and signal-to-noise of one prompt's policy gradient."""
    import theory

    moments = theory.drift(
        pass_rate,
        theory.VerifierChannel(fpr, fnr),
        group_size,
        estimator=theory.estimator_named(estimator),
    )

    def show(console: Console) -> None:
        console.print(moments)

    emit(moments, as_json=json, show=show)
