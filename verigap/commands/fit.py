"""`verigap fit`: one law per curve, with intervals, identifiability and a held-out forecast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.commands.runs import Format, Manifest, Map, Metric, Runs, Set, Where, load_runs
from verigap.console import Json, emit, write_text_atomically

if TYPE_CHECKING:
    from rich.console import Console


def fit(
    runs: Runs,
    *,
    group: Annotated[
        str | None,
        typer.Option(help="Columns that make a curve, comma-separated (default: the condition)."),
    ] = None,
    x: Annotated[str, typer.Option(help="The compute column.")] = "rollouts",
    y: Annotated[str, typer.Option(help="The column fitted.")] = "accuracy",
    law: Annotated[
        str,
        typer.Option(help="auto, sigmoid, power, exponential, log, margin-logit or quadratic."),
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Also write the JSON document here.")] = None,
    format: Format = "auto",
    metric: Metric = None,
    manifest: Manifest = None,
    map: Map = None,
    set: Set = None,
    where: Where = None,
    json: Json = False,
) -> None:
    """Fit a scaling law to each curve of accuracy against compute."""
    from fits import fit_groups

    table = load_runs(
        runs, format=format, metric=metric, manifest=manifest, map=map, set=set, where=where
    )
    fits = fit_groups(table.frame, x=x, y=y, group=group, law=law, source=str(runs))
    document = {
        "curves": [
            {
                "group": one.group,
                "law": one.fit.law.name,
                "formula": one.fit.law.formula,
                "params": one.fit.params,
                "ci": one.fit.ci,
                "ci_basis": one.fit.ci_reason,
                "status": one.fit.status,
                "message": one.fit.message,
                "identified": one.fit.identified,
                "reason": one.fit.reason or None,
                "x_max_over_midpoint": one.fit.x_max_over_midpoint,
                "aicc": one.fit.aicc,
                "aicc_by_law": one.compared,
                "forecast_rmse": one.fit.forecast_rmse,
                "forecast_rmse_by_fraction": one.fit.forecast,
                "rmse": one.fit.rmse,
                "rows": one.fit.n,
                "runs": len(one.fit.runs),
                "notes": one.fit.notes,
            }
            for one in fits
        ],
        "x": x,
        "y": y,
        "notes": table.notes,
    }

    def show(console: Console) -> None:
        from rich.table import Table

        console.print(f"{y} against {x}", style="bold", highlight=False)
        view = Table()
        for heading in ("curve", "law", "asymptote", "95 % interval", "x_max/mid", "forecast RMSE"):
            view.add_column(heading, overflow="fold")
        for one in fits:
            asymptote = one.fit.params.get("asymptote")
            interval = one.fit.ci.get("asymptote")
            ratio, rmse = one.fit.x_max_over_midpoint, one.fit.forecast_rmse
            known = one.fit.identified
            view.add_row(
                one.group,
                one.fit.law.name,
                f"{asymptote:.4f}" if known and asymptote is not None else "unidentified",
                f"[{interval[0]:.4f}, {interval[1]:.4f}]"
                if known and interval is not None
                else "–",
                "–" if ratio is None else f"{ratio:.2f}",
                "–" if rmse is None else f"{rmse:.4f}",
            )
        console.print(view)
        for one in fits:
            if not one.fit.identified:
                console.print(f"{one.group}: {one.fit.reason}.", highlight=False)
        for basis in dict.fromkeys(one.fit.ci_reason for one in fits):
            console.print(f"Intervals: {basis}.", style="dim", highlight=False)

    if out is not None:
        import json as json_

        from verigap.console import plain

        write_text_atomically(out, json_.dumps(plain(document), indent=2, allow_nan=False) + "\n")
    emit(document, as_json=json, show=show)
