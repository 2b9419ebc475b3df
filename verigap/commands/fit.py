"""`verigap fit`: one law per curve, with intervals, identifiability and a held-out forecast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verigap.console import Json, emit, fail, progress, write_json
from verigap.options import (
    Address,
    Backend,
    BackendOption,
    Figure,
    Loss,
    Reading,
    each_on,
    reads_runs,
    save_figure,
    say_what_was_read,
    started,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from fits import RunTable
    from fits.each import Each
    from fits.figures import Drawing


@reads_runs
def fit(
    read: Reading,
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
    loss: Loss = "auto",
    figure: Figure = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON document here.")] = None,
    backend: BackendOption = Backend.local,
    address: Address = None,
    json: Json = False,
) -> None:
    """Fit a scaling law to each curve of accuracy against compute, or a joint law over error rates."""
    from fits import JOINT_LAWS

    read.check_outputs(figure, out)
    if law in JOINT_LAWS and backend is Backend.ray:
        fail(f"--backend ray is for one law per curve; the {law} law is one fit of all rows")
    table = read.load()
    with started(backend, address), progress(quiet=json) as bar:
        if law in JOINT_LAWS:
            document, show, draw = _joint(table, law=law, x=x, y=y, group=group, loss=loss)
        else:
            document, show, draw = _curves(
                table,
                law=law,
                x=x,
                y=y,
                group=group,
                loss=loss,
                each_fit=each_on(backend, bar, "curves"),
                each_band=each_on(backend, bar, "bands"),
            )
        if figure is not None:
            save_figure(figure, draw)
    if out is not None:
        write_json(out, document)
    say_what_was_read(table)
    emit(document, as_json=json, show=show)


def _curves(
    table: RunTable,
    *,
    law: str,
    x: str,
    y: str,
    group: str | None,
    loss: str,
    each_fit: Each,
    each_band: Each,
) -> tuple[dict[str, Any], Callable[[Console], None], Callable[[], Drawing]]:
    """The document, the view and the figure of one law per curve."""
    from fits import fit_groups
    from fits.fit import check_loss, group_rows

    fits = fit_groups(
        table.frame,
        x=x,
        y=y,
        group=group,
        law=law,
        loss=loss,
        source=table.source,
        each=each_fit,
    )
    document = {
        "curves": [
            {
                "group": one.group,
                "law": one.fit.law.name,
                "formula": one.fit.law.formula,
                "loss": one.fit.loss,
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
        "loss": check_loss(table.frame, loss),
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
        console.print(f"Loss: {document['loss']}.", style="dim", highlight=False)

    def draw() -> Drawing:
        from fits.figures import draw_fits

        return draw_fits(fits, dict(group_rows(table.frame, group)), x=x, y=y, each=each_band)

    return document, show, draw


def _joint(
    table: RunTable, *, law: str, x: str, y: str, group: str | None, loss: str
) -> tuple[dict[str, Any], Callable[[Console], None], Callable[[], Drawing]]:
    """The document, the view and the figure of one joint law per group of final accuracies."""
    from fits import fit_surface
    from fits.fit import check_loss, group_rows
    from fits.table import varying

    frame = table.frame.assign(accuracy=table.frame[y]) if y in table.frame.columns else table.frame
    # A joint law spans conditions: only the model separates groups, unless --group says otherwise.
    key = group if group is not None else ("model" if varying(frame, ["model"]) else None)
    groups = group_rows(frame, key, source=table.source) if key else [("all", frame)]
    axis = "group_size" if x == "rollouts" else x
    fits = [
        (
            label,
            fit_surface(rows, law=law, axis=axis, loss=loss, source=table.source),
        )
        for label, rows in groups
    ]
    document = {
        "curves": [
            {
                "group": label,
                "law": one.law.name,
                "formula": one.law.formula,
                "loss": one.loss,
                "params": one.params,
                "ci": one.ci,
                "ci_basis": one.ci_reason,
                "status": one.status,
                "message": one.message,
                "identified": one.identified,
                "reason": one.reason or None,
                "aliased": one.aliased,
                "x_max_over_midpoint": None,
                "x_max_over_midpoint_reason": "a joint law has no midpoint",
                "aicc": one.aicc,
                "forecast_rmse": one.loco_rmse,
                "forecast": "leave one condition out",
                "rmse": one.rmse,
                "rows": one.n,
                "notes": one.notes,
            }
            for label, one in fits
        ],
        "x": axis,
        "y": y,
        "loss": check_loss(table.frame, loss),
        "notes": table.notes,
    }

    def show(console: Console) -> None:
        from rich.table import Table

        for label, one in fits:
            console.print(f"{label}: {one.law.formula}", style="bold", highlight=False)
            if one.aliased:
                console.print(f"Refused: {one.reason}.", highlight=False)
                continue
            view = Table()
            for heading in ("coefficient", "estimate", "95 % interval"):
                view.add_column(heading, overflow="fold")
            for name, value in one.params.items():
                interval = one.ci[name]
                spoken = "–" if interval is None else f"[{interval[0]:+.4f}, {interval[1]:+.4f}]"
                view.add_row(name, f"{value:+.4f}", spoken)
            console.print(view)
            left_out = "–" if one.loco_rmse is None else f"{one.loco_rmse:.4f}"
            console.print(
                f"RMSE {one.rmse:.4f}; leaving one condition out {left_out}. Intervals:"
                f" {one.ci_reason}. Loss: {one.loss}.",
                highlight=False,
            )
            for note in one.notes:
                console.print(note, style="dim", highlight=False)

    def draw() -> Drawing:
        from fits.figures import draw_surface

        return draw_surface(fits, dict(groups), axis=axis)

    return document, show, draw
