"""`verigap watch`: a run while it trains, with alarms whose false alarms are a promise over the whole run."""

from __future__ import annotations

import json as _json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verigap.console import Json, fail

if TYPE_CHECKING:
    from rich.console import RenderableType

    from verigap.face.watching import WatchedRun, Watcher

ALARM = 1  # exit status where an alarm went off
SILENT = 3  # where nothing came for --patience: interrupted, and the same command goes on
SECONDS = {True: 5.0, False: 60.0}  # between looks, on a terminal and elsewhere
_BARS = " ▁▂▃▄▅▆▇█"


def watch(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A run folder, one that VerigapCallback writes to, an offline run of W&B, a trackio database,"
            " an output folder of TRL's.",
        ),
    ],
    *,
    run: Annotated[str | None, typer.Option(help="Which run, by name, of several there.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="A person's labels: a row a rollout with step, paid, right (and prompt)."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="VERIFIER",
            help="Label completions that TRL saved (log_completions=True): a verifier's name, or module:function.",
        ),
    ] = None,
    gold: Annotated[
        str, typer.Option(help="Their column of the right answer, saved by log_extra.")
    ] = "gold",
    reward: Annotated[
        str | None, typer.Option(help="Their column of what the verifier paid, of several.")
    ] = None,
    labels_per_step: Annotated[
        int,
        typer.Option(
            min=0, help="Labels a step: by --reference, or where the log counts right and paid."
        ),
    ] = 8,
    fpr: Annotated[
        float | None, typer.Option(help="The declared P(paid | wrong). [default: the log's]")
    ] = None,
    fnr: Annotated[
        float | None, typer.Option(help="The declared P(unpaid | right). [default: the log's]")
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(help="What `verigap audit --out` wrote: its upper ends are declared."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="What `verigap validate --out` wrote, for the forecast.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps asked for, where the log does not say.")
    ] = None,
    group_size: Annotated[
        int | None, typer.Option(min=2, help="Rollouts a prompt, where the log does not say.")
    ] = None,
    false_alarm: Annotated[
        float, typer.Option(help="Share of runs with any false alarm, at most, over the whole run.")
    ] = 0.01,
    tolerance: Annotated[
        float, typer.Option(help="By how much a rate must exceed before an alarm may go off.")
    ] = 0.01,
    once: Annotated[bool, typer.Option("--once", help="Look once, do not wait.")] = False,
    every: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds between looks. [default: 5 on a terminal, else 60]"),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            min=0, help="Minutes to wait for a log, or for its next step; then exit code 3."
        ),
    ] = None,
    stop: Annotated[
        bool,
        typer.Option(
            "--stop",
            help="At an alarm write DIR/STOP: our trainer and VerigapCallback stop after their step.",
        ),
    ] = False,
    keep_on: Annotated[
        bool, typer.Option("--keep-on", help="Go on after an alarm, to the end of the run.")
    ] = False,
    json: Json = False,
) -> None:
    """Watch a run: rates, what its rollouts are worth, forecast, and alarms that can be trusted.

    Ends with the run, or with an alarm: then the exit code is 1. --json prints one line at the end.
    """
    from verigap.face.watching import Watcher, settings

    watcher = Watcher(
        path,
        settings(
            fpr=fpr,
            fnr=fnr,
            audit=audit,
            calibration=calibration,
            steps=steps,
            group_size=group_size,
            false_alarm=false_alarm,
            tolerance=tolerance,
        ),
        run=run,
        labels=labels,
        reference=reference,
        gold=gold,
        reward=reward,
        labels_per_step=labels_per_step,
    )
    terminal = sys.stdout.isatty() and not json
    pause = SECONDS[terminal] if every is None else every
    try:
        if once:
            seen: WatchedRun | None = watcher.look()
        else:
            seen = _follow(watcher, pause, patience, terminal=terminal, quiet=json, keep_on=keep_on)
    except KeyboardInterrupt:
        # Who watches may leave; what was seen until then is what the exit code tells.
        seen = watcher.seen
        if seen is None:
            raise
    if seen is None:
        fail(f"{path}: no log of a run came in {patience:g} minutes")
    if stop and seen.alarm:
        _write_stop(watcher.folder, seen)
    if json:
        from fits.plain import plain

        sys.stdout.write(_json.dumps(plain(seen.plain()), allow_nan=False) + "\n")
    elif not terminal or once:
        _print(seen)
    silent = not once and seen.state == "silent"
    if seen.alarm or silent:
        raise typer.Exit(ALARM if seen.alarm else SILENT)


def _follow(
    watcher: Watcher,
    pause: float,
    patience: float | None,
    *,
    terminal: bool,
    quiet: bool,
    keep_on: bool,
) -> WatchedRun | None:
    """Look after look, until the run ends, an alarm goes off, or patience does; the last look."""
    from rich.live import Live

    from fits.errors import InputError
    from verigap.console import console_on
    from verigap.errors import UserError

    seen: WatchedRun | None = None
    news, until = -1, None if patience is None else time.monotonic() + 60.0 * patience
    live = Live(console=console_on(), auto_refresh=False) if terminal else None
    said = 0.0
    with live if live is not None else _nothing():
        while True:
            try:
                seen = watcher.look()
            except (InputError, UserError):
                # A log that is not there yet is waited for, one that went on and broke is not.
                if until is None or seen is not None or time.monotonic() >= until:
                    if until is None or seen is not None:
                        raise
                    return None
            if seen is not None:
                if seen.step != news and until is not None and patience is not None:
                    until = time.monotonic() + 60.0 * patience
                news = seen.step
                if live is not None:
                    live.update(view(seen, live.console.width), refresh=True)
                elif not quiet and (time.monotonic() - said >= min(60.0, pause) or not said):
                    said = time.monotonic()
                    sys.stdout.write(_line(seen) + "\n")
                    sys.stdout.flush()
                if seen.state == "ended" or (seen.alarm and not keep_on):
                    return seen
                if until is not None and time.monotonic() >= until:
                    return watcher.silent()
            time.sleep(pause)


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def _line(seen: WatchedRun) -> str:
    from empirical.watch.monitor import summary_line
    from fits.plain import visible

    return visible(f"{time.strftime('%H:%M:%S')} {summary_line(seen)}")


def _write_stop(folder: Path | None, seen: WatchedRun) -> None:
    from empirical.watch.steps import STOP
    from fits.files import write_text

    if folder is None:
        sys.stderr.write(
            f"verigap: {seen.run}: its trainer heeds no file {STOP}; the run goes on\n"
        )
        return
    on = "; ".join(f"{one.says} (step {one.step})" for one in seen.alarms if one.on)
    write_text(folder / STOP, f"verigap watch: {on}\n")
    sys.stderr.write(f"verigap: wrote {folder / STOP}; remove it before the run goes on\n")


def _print(seen: WatchedRun) -> None:
    from verigap.console import console_on

    console = console_on()
    console.print(view(seen, console.width))


# --- the view -------------------------------------------------------------------------------------------


def view(seen: WatchedRun, width: int) -> RenderableType:
    """What a terminal shows: where the run stands, its course, the alarms, and what is not known."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from fits.plain import visible

    head = Text(visible(seen.run), style="bold")
    head.append(f"  {seen.state}, step {seen.step}" + (f" of {seen.steps}" if seen.steps else ""))
    if seen.seconds_left is not None and seen.state == "running":
        head.append(f", {_duration(seen.seconds_left)} left")
    parts: list[RenderableType] = [head]

    table = Table(box=None, show_header=True, header_style="dim", pad_edge=False)
    table.add_column(f"newest {seen.window} steps")
    table.add_column("now", justify="right")
    table.add_column("95 %", no_wrap=True)
    table.add_column("over the run", no_wrap=True)
    room = max(8, min(24, width - 62))
    for name, value, interval, course in (
        ("observed reward", seen.reward, None, [one.reward for one in seen.course]),
        ("audited accuracy", seen.accuracy, seen.accuracy_ci, [o.accuracy for o in seen.course]),
        (_declared("fpr", seen.declared.fpr), seen.fpr, seen.fpr_ci, [o.fpr for o in seen.course]),
        (_declared("fnr", seen.declared.fnr), seen.fnr, seen.fnr_ci, [o.fnr for o in seen.course]),
        (
            "zero-advantage groups",
            seen.zero_advantage_fraction,
            None,
            [one.zero_advantage_fraction for one in seen.course],
        ),
    ):
        table.add_row(name, _number(value), _span(interval), spark(course, room))
    if seen.groups is not None:
        mix = " / ".join(f"{100 * share:.0f}" for share in seen.groups.values())
        table.add_row("groups paid none/some/all, %", mix, "", "")
    worth = "effective rollouts" + (f" of {seen.group_size}" if seen.group_size else "")
    table.add_row(
        worth, _number(seen.effective_rollouts, ".1f"), _span(seen.effective_rollouts_ci, ".1f"), ""
    )
    table.add_row("signal-to-noise of a group", _number(seen.snr, ".2f"), "", "")
    if seen.snr2_logged is not None:
        table.add_row("its square, of a step, as logged", _number(seen.snr2_logged, ".2f"), "", "")
    if seen.evaluated is not None:
        at = f"evaluated at step {seen.evaluated_step}"
        now = seen.forecast_now
        table.add_row(at, _number(seen.evaluated), "", "" if now is None else _band(now))
    if seen.forecast is not None:
        left = "" if seen.accuracy_left is None else f"{seen.accuracy_left:+.3f} to come"
        table.add_row(
            f"forecast at step {seen.forecast.step}",
            _number(seen.forecast.accuracy),
            _span(seen.forecast.ci90) + " (90 %)",
            left,
        )
    parts.append(table)

    alarms = Table(box=None, show_header=True, header_style="dim", pad_edge=False)
    alarms.add_column(f"alarms, at most {100 * seen.false_alarm:g} % of runs with a false one")
    alarms.add_column("")
    alarms.add_column("evidence", justify="right", no_wrap=True)
    for one in seen.alarms:
        state = Text(f"ALARM, step {one.step}", style="bold red") if one.on else Text("quiet")
        weight = f"{_short(one.evidence)} of {_short(one.needed)}"
        if not one.can:
            state, weight = Text("cannot go off", style="yellow"), "–"
        alarms.add_row(one.says, state, weight)
    parts.append(alarms)
    reasons = dict.fromkeys(one.reason for one in seen.alarms if not one.can)
    parts += [Text(f"cannot go off: {reason}", style="yellow") for reason in reasons]
    if seen.fpr_reached:
        parts.append(
            Text(f"fpr has been above {seen.fpr_reached:.3f} (at all steps at once)", style="dim")
        )
    count = f"{seen.labels:,} label{'s' * (seen.labels != 1)}"
    told = f"{count} by {visible(seen.labels_by)}" if seen.labels else "no labels"
    parts.append(Text(told, style="dim"))
    parts += [Text(f"not known: {visible(line)}", style="yellow") for line in seen.unknown]
    parts += [Text(visible(line), style="dim") for line in seen.notes]
    return Group(*parts)


def spark(values: list[float | None], room: int) -> str:
    """Values in [0, 1] as bars, a dot where there is none; at most `room` of them, the newest."""
    shown = values[-room:]
    return "".join(
        "·" if value is None else _BARS[min(8, max(1, round(8.0 * value)))] for value in shown
    )


def _declared(name: str, rate: float | None) -> str:
    return name if rate is None else f"{name} (declared {rate:g})"


def _number(value: float | None, spec: str = ".3f") -> str:
    return "–" if value is None else format(value, spec)


def _span(interval: tuple[float, float] | None, spec: str = ".3f") -> str:
    return "" if interval is None else f"[{interval[0]:{spec}}, {interval[1]:{spec}}]"


def _band(now: Any) -> str:
    low, high = now.ci90
    inside = now.measured is None or low <= now.measured <= high
    return f"{'inside' if inside else 'OUTSIDE'} the forecast {_span(now.ci90)}"


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1e6 else "over a million"


def _duration(seconds: float) -> str:
    minutes = seconds / 60.0
    if minutes < 1.0:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90.0 else f"{minutes / 60.0:.1f} h"
