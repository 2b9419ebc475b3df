"""`verigap drift`: the exact finite-group moments of one prompt's gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from verigap.console import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

MEANING = {
    "youden": "J = 1 - fpr - fnr",
    "observed_rate": "P(a rollout is paid), q",
    "gain": "advantage of a paid over an unpaid rollout",
    "drift": "expected gradient along ability, per group",
    "variance": "its variance, per group",
    "mean_field_drift": "the drift of an infinite group",
    "snr": "drift / sqrt(variance), per group",
    "zero_advantage_fraction": "P(a group teaches nothing)",
    "phi2": "squared correlation of right and paid",
    "effective_rollouts": "clean rollouts of the same signal-to-noise, 1 + phi2 (G - 1)",
    "snr2_weight": "squared signal-to-noise of one weight, per unit of signal",
}


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
    import dataclasses

    import theory

    moments = theory.drift(
        pass_rate,
        theory.VerifierChannel(fpr, fnr),
        group_size,
        estimator=theory.estimator_named(estimator),
    )
    document: dict[str, Any] = {}
    for key, value in dataclasses.asdict(moments).items():
        document[key] = float(value)
        if key == "gain" and moments.youden * pass_rate * (1.0 - pass_rate) == 0.0:
            document |= {
                key: None,
                "gain_reason": "J a(1 - a) = 0: no gradient to be a multiple of",
            }
        if key == "snr" and moments.variance == 0.0:
            document |= {key: None, "snr_reason": "the gradient is 0 in every group"}

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table(
            title=f"{estimator}, pass rate {pass_rate:g}, fpr {fpr:g}, fnr {fnr:g}, "
            f"{group_size} rollouts"
        )
        table.add_column("quantity")
        table.add_column("value", justify="right")
        table.add_column("meaning")
        for key, meaning in MEANING.items():
            value = document[key]
            shown = "-" if value is None else f"{value:.6g}"
            table.add_row(key, shown, meaning if value is not None else document[f"{key}_reason"])
        console.print(table)

    emit(document, as_json=json, show=show)
