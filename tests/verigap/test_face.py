"""The Python face: light to import, one result a verb, `plain()` what `--json` prints, one kind of mistake."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer

import theory
import verigap as vg
from fits.plain import json_text
from tests.builders import ROOT, SWEEP_SPEC, flow_runs, matched_runs, spec_file
from tests.commands.command import document
from verigap.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
VERBS = [name for name in vg.__all__ if name not in ("UserError", "VerigapCallback", "__version__")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("face") / "runs.csv"
    matched_runs(seeds=3).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("calibration")
    table, stored = folder / "flow.csv", folder / "calibration.json"
    flow_runs(seeds=1).to_csv(table, index=False)
    document("validate", table, "--calibrate-on", "arm=clean", "--out", stored)
    return table, stored


def same(result: Any, printed: Any, *apart: str) -> None:
    told = json.loads(json_text(result.plain()))
    for name in apart:
        del told[name], printed[name]
    assert told == printed


def test_importing_takes_a_tenth_of_a_second_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time\nbegan = time.process_time()\nimport verigap\n"
        "took = time.process_time() - began\n"
        "assert not {'pandas', 'torch', 'numpy', 'matplotlib'} & set(sys.modules)\nprint(took)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1


def test_fit_and_gap_are_what_the_command_prints(runs: Path) -> None:
    table = vg.read_runs(str(runs))
    same(vg.fit(table, law="sigmoid"), document("fit", runs, "--law", "sigmoid"))
    same(vg.gap(runs, delta=0.02), document("gap", runs, "--delta", ".02"))
    told = vg.gap(table, where=["arm=clean", "arm=fp"], clean="arm=clean")
    same(
        told,
        document("gap", runs, "--where", "arm=clean", "--where", "arm=fp", "--clean", "arm=clean"),
    )


def test_a_joint_law_is_what_the_command_prints(runs: Path) -> None:
    same(vg.fit(runs, law="margin-logit"), document("fit", runs, "--law", "margin-logit"))


def test_reading_is_what_import_prints(runs: Path, tmp_path: Path) -> None:
    printed = document("import", runs, "--out", tmp_path / "t.csv", "--set", "model=tiny")
    del printed["out"]
    same(vg.read_runs(runs, set="model=tiny"), printed)


def test_forecasts_are_what_the_commands_print(calibration: tuple[Path, Path]) -> None:
    table, stored = calibration
    same(
        vg.validate(table, calibrate_on="arm=clean"),
        document("validate", table, "--calibrate-on", "arm=clean"),
    )
    asked: dict[str, Any] = {"fpr": 0.1, "fnr": 0.2, "group_size": 8, "steps": 100}
    flags = [
        word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    same(vg.predict(stored, **asked), document("predict", stored, *flags))
    lists = vg.predict(stored, fpr=[0.1, 0.3], fnr=0.0, group_size=(8, 16), steps=100)
    words = ("--fpr", "0.1,0.3", "--fnr", 0, "--group-size", "8,16", "--steps", 100)
    same(lists, document("predict", stored, *words))
    frame = lists.to_frame()
    assert frame["fpr"].tolist() == [0.1, 0.1, 0.3, 0.3]
    assert frame["group_size"].tolist() == [8, 16, 8, 16]
    alone = vg.predict(stored, fpr=0.3, fnr=0.0, group_size=16, steps=100).to_frame()
    assert frame.iloc[-1].to_numpy() == pytest.approx(alone.iloc[0].to_numpy(), abs=1e-12)
    with pytest.raises(vg.UserError, match="group_size must be whole numbers"):
        vg.predict(stored, fpr=0.1, fnr=0.0, group_size=[8, 8.5])  # pyright: ignore[reportArgumentType]


def test_a_sweep_is_what_the_command_prints(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, SWEEP_SPEC)
    out = tmp_path / "out"
    done = vg.simulate(spec, out=out)
    same(done, document("simulate", spec, "--out", out, "--force"), "seconds")
    assert vg.simulate(str(spec)).out is None
    pd.testing.assert_frame_equal(vg.simulate(spec).to_frame(), done.to_frame())


@pytest.mark.parametrize("fpr", [0.1, 1.0])
def test_exact_verbs_are_what_the_commands_print(fpr: float, tmp_path: Path) -> None:
    flags = ("--pass-rate", 0.3, "--fpr", fpr, "--estimator", "rloo")
    same(vg.drift(0.3, fpr=fpr, estimator="rloo"), document("drift", *flags))
    flags = ("--beta", 1, "--reference-pass-rate", 0.2, "--form", "k3", "--group-size", 8)
    found = vg.rest_points(beta=1.0, reference_pass_rate=0.2, form="k3", group_size=8)
    same(found, document("rest-points", *flags))
    grids = ("--fpr-grid", "0,.1", "--fnr-grid", "0:.2:3", "--group-size", "8")
    printed = document("phase", *grids, "--out", tmp_path)
    frame = vg.phase(fpr_grid="0,.1", fnr_grid=[0, 0.1, 0.2], group_size=8).to_frame()
    assert printed["cells"] == len(frame) == 6
    pd.testing.assert_frame_equal(frame, pd.read_csv(tmp_path / "phase.csv"), check_exact=False)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.5
    paid = np.where(right, rng.random(400) < 0.8, rng.random(400) < 0.1)
    rows = {"prompt": np.arange(400) // 4, "right": right.astype(int), "paid": paid.astype(int)}
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_an_audit_and_its_plan_are_what_the_commands_print(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.json"
    found = vg.audit(
        labels, truth="right", verdict="paid", cluster="prompt", fail_on=["youden<.1", "n<9"]
    )
    flags = ("--truth", "right", "--verdict", "paid", "--cluster", "prompt")
    gates = ("--fail-on", "youden<.1", "--fail-on", "n<9")
    same(found, document("audit", labels, *flags, *gates, "--out", out))
    frame = pd.read_csv(labels)
    told = vg.audit(frame, truth="right", verdict="paid", cluster="prompt").to_frame()
    assert told.equals(found.to_frame())
    planned = document("plan", "--audit", out, "--group-size", 16, "--steps", 400)
    same(vg.plan(audit=str(out), group_size=16, steps=400), dict(planned))
    same(vg.plan(audit=found, group_size=16, steps=400), dict(planned))
    rates = ("--fpr", 0.1, "--fnr", 0.2, "--pass-rate", 0.3, "--pass-rate", 0.6)
    same(vg.plan(fpr=0.1, fnr=0.2, pass_rate=[0.3, 0.6]), document("plan", *rates))
    same(vg.plan(fpr=0.1, fnr=0.2, pass_rate="0.3,0.6"), document("plan", *rates))
    probe = ROOT / "empirical" / "results" / "cpu-campaign" / "probe.json"
    same(vg.plan(fpr=0.1, fnr=0.2, probe=probe), document("plan", *rates[:4], "--probe", probe))


@pytest.mark.parametrize("where", ["arm=clean,group_size=8", "group_size=8,fpr=0.2"])
def test_an_audit_of_runs_is_what_the_command_prints(where: str) -> None:
    campaign = ROOT / "empirical" / "results" / "cpu-campaign"
    found = vg.audit(runs=campaign, where=where)
    same(found, document("audit", "--runs", campaign, "--where", where))
    assert "Assumed" in repr(found)


def test_power_is_what_the_command_prints() -> None:
    study = ROOT / "empirical" / "studies" / "trained" / "cpu-smoke.yaml"
    flags = ("--gap", 0.02, "--true-gap", "fpr0.4=.1", "--accuracy", 0.7)
    found = vg.power(study, gap=0.02, true_gap="fpr0.4=.1", accuracy=0.7)
    same(found, document("power", study, *flags))
    same(vg.power(study, gap=0.02, true_gap={"fpr0.4": 0.1}, accuracy=0.7), found.plain())
    piloted = vg.power(study, pilot=ROOT / "empirical" / "results" / "cpu-smoke")
    assert "chance of a verdict" in repr(piloted)


def test_results_are_frozen_and_shown_as_text_html_and_table(
    runs: Path, calibration: tuple[Path, Path], labels: Path
) -> None:
    table, stored = calibration
    results: list[Any] = [
        vg.audit(labels, truth="right", verdict="paid"),
        vg.plan(fpr=0.1, fnr=0.2, pass_rate=0.3),
        vg.read_runs(runs),
        vg.fit(runs, law="sigmoid"),
        vg.gap(runs),
        vg.validate(table, calibrate_on="arm=clean"),
        vg.predict(stored, fpr=0, fnr=0, group_size=8),
        vg.drift(0.0),
        vg.rest_points(beta=1, reference_pass_rate=0.5),
        vg.phase(fpr_grid="0", fnr_grid="0", group_size="8"),
    ]
    for result in results:
        assert dataclasses.is_dataclass(type(result))
        with pytest.raises(dataclasses.FrozenInstanceError):
            result.notes = ()
        assert len(result.to_frame())
        text, html = repr(result), result._repr_html_()
        assert "object at 0x" not in text
        assert text.splitlines()[0]
        assert "<table" in html
        assert max(map(len, text.splitlines())) < 400
        assert not {"NaN", "nan", "None"} & set(text.split())


def test_a_picture_is_drawn_alone_or_in_an_axes_place(
    runs: Path, calibration: tuple[Path, Path], labels: Path
) -> None:
    from matplotlib.figure import Figure

    table, _ = calibration
    pictured: list[Any] = [
        vg.audit(labels, truth="right", verdict="paid"),
        vg.gap(runs),
        vg.fit(runs, law="sigmoid"),
        vg.validate(table, calibrate_on="arm=clean"),
        vg.phase(fpr_grid="0,.1", fnr_grid="0,.1", group_size="8"),
    ]
    for result in pictured:
        alone = result.plot()
        whole = Figure(layout="constrained", figsize=(12, 5))
        left, right = whole.subplots(1, 2)
        left.plot([0, 1])
        placed = result.plot(right)
        assert placed.data.equals(alone.data)
        assert len(placed.axes) == len(alone.axes) > 0
        assert whole.subfigs == [placed.figure]
        whole.canvas.draw()
    with pytest.raises(ValueError, match="ax must be an axes of a grid"):
        pictured[0].plot(Figure().add_axes((0, 0, 1, 1)))


def test_the_readme_s_line_prints_a_readable_table() -> None:
    campaign = ROOT / "empirical" / "results" / "cpu-campaign"
    text = repr(vg.gap(vg.read_runs(campaign), where="group_size=8"))
    for word in ("fpr0.4", "verdict", "gap at the end", "floor", "smallest gap of interest"):
        assert word in text
    # A floor is told where the verdict is about it, as the command does.
    coin = next(line for line in text.splitlines() if line.split()[0] == "coin")
    assert "largest budget" in coin
    assert coin.split()[-2] == "–"


# What a command alone takes: where to write, how to show, and how RUNS are read (`read_runs`).
COMMAND_ONLY = {
    *("json", "out", "figure", "arms", "figure_size", "force", "junit", "sarif"),
    *("format", "manifest", "map", "metric", "runs_from", "scale", "set"),
    *("backend", "address", "preset", "runs"),
    *("once", "every", "patience", "stop", "keep_on"),
}
PYTHON_ONLY = {"each", "report", "on_ray", "path", "words", "command", "notes", "seed"}


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_takes_what_its_command_takes(name: str) -> None:
    command = COMMANDS["import" if name == "read_runs" else name.replace("_", "-")]
    options = {parameter.name for parameter in command.params}
    arguments = set(inspect.signature(getattr(vg, name)).parameters)
    assert options - arguments <= COMMAND_ONLY
    assert arguments - options <= PYTHON_ONLY


@pytest.mark.parametrize("name", VERBS)
def test_help_says_shapes_errors_and_source(name: str) -> None:
    told = getattr(vg, name).__doc__
    for part in ("Raises UserError", "Source: docs/"):
        assert part in told, (name, part)


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "no runs": (lambda: vg.gap(3), "runs must be a run table, a data frame, text or a path"),  # pyright: ignore[reportArgumentType]
    "no such file": (lambda: vg.gap("nope"), "nope: no such file"),
    "text for a number": (lambda: vg.drift("x"), "pass_rate must be a number, got 'x'"),  # pyright: ignore[reportArgumentType]
    "a rate": (lambda: vg.drift(0.3, fpr=1.2), "fpr must lie in [0, 1], got 1.2"),
    "an estimator": (lambda: vg.drift(0.3, estimator="ppo"), "'ppo'"),
    "an option": (lambda: vg.drift(0.3, foo=1), "foo"),  # pyright: ignore[reportCallIssue]
    "a size": (lambda: vg.drift(0.3, group_size=2.5), "group_size must be a whole number"),  # pyright: ignore[reportArgumentType]
    "a preset": (lambda: vg.simulate("zzz"), "there is no preset 'zzz'"),
    "a grid": (lambda: vg.phase(fpr_grid="a:b:c"), "must be numbers"),
    "a form": (lambda: vg.rest_points(beta=1, reference_pass_rate=0.5, form="x"), "form"),
    "an empty path": (lambda: vg.read_runs(""), "path is empty"),
    "a table for a path": (
        lambda: vg.read_runs(pd.DataFrame({"a": range(99)})),  # pyright: ignore[reportArgumentType]
        "path must be text or a path, got a DataFrame",
    ),
    "a number for a study": (lambda: vg.simulate(3), "spec must be text, a path or a Sim"),  # pyright: ignore[reportArgumentType]
    "a number for an estimator": (lambda: vg.drift(0.3, estimator=3), "estimator must be text or"),  # pyright: ignore[reportArgumentType]
    "no number in a grid": (lambda: vg.phase(fpr_grid=[]), "--fpr-grid []: must be numbers"),
    "nothing to audit": (lambda: vg.audit(), "name a file of labelled verdicts"),
    "no labels": (lambda: vg.audit("nope.csv", truth="a", verdict="b"), "nope.csv: no such file"),
    "a gate of runs": (lambda: vg.audit(runs="x", fail_on="fpr>0"), "--fail-on needs labelled"),
    "no rates": (lambda: vg.plan(fpr=0.1), "give --audit, or --fpr and --fnr"),
    "no pass rate": (lambda: vg.plan(fpr=0.1, fnr=0.1), "pass"),
    "a pass rate": (lambda: vg.plan(fpr=0.1, fnr=0.1, pass_rate="x"), "--pass-rate x: must be"),
    "no study": (lambda: vg.power("nope.yaml"), "nope.yaml: no such file"),
    "a calibration": (lambda: vg.predict("x.json", fpr=0, fnr=0, group_size=8), "x.json"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_kind_of_error_with_one_sentence(name: str) -> None:
    call, sentence = MISTAKES[name]
    with pytest.raises(vg.UserError) as caught:
        call()
    assert sentence in str(caught.value)


def test_words_are_the_command_line_s(runs: Path) -> None:
    for mistake, sentence in (
        ({"law": "cubic"}, "'cubic' is none of"),
        ({"where": "arm=zzz"}, "no row satisfies --where arm=zzz"),
        ({"where": 3}, "where must be text or a list of text, got 3"),
        ({"clean": 3}, "clean must be text, a list of text or a Selection, got 3"),
        ({"clean": []}, "clean selects nothing"),
        ({"x": "accuracy"}, "--x accuracy is the column that is fitted"),
        ({"delta": 2.0}, "delta must lie in (0, 1), got 2"),
        ({"clean": "fpr"}, "'fpr' is no comparison"),
        ({"x": "tokens"}, "needs the column tokens"),
    ):
        with pytest.raises(vg.UserError) as caught:
            vg.gap(runs, **mistake)  # pyright: ignore[reportArgumentType]
        assert sentence in str(caught.value)


def test_fit_names_every_law_it_knows_and_calls_what_carries_it_out(runs: Path) -> None:
    for mistake, sentence in (
        ({"law": "cubic"}, "quadratic"),
        ({"each": 3}, "each must be a function"),
        ({"x": "accuracy"}, "--x accuracy is the column that is fitted"),
    ):
        with pytest.raises(vg.UserError, match=sentence):
            vg.fit(runs, **mistake)  # pyright: ignore[reportArgumentType]


def test_a_number_is_a_number_whoever_made_it() -> None:
    plain = vg.drift(0.5, fpr=0.25, group_size=8)
    same(vg.drift(Fraction(1, 2), fpr=np.float32(0.25), group_size=np.int64(8)), plain.plain())  # pyright: ignore[reportArgumentType]
    same(vg.drift(0.5, fpr=0.25, estimator=theory.GRPO), plain.plain())
    assert vg.drift(0.5, estimator=theory.GRPO).headline() == vg.drift(0.5).headline()
    grids = {"fnr_grid": np.float32(0.25), "group_size": np.int64(8)}
    told = vg.phase(fpr_grid=np.array([0.0]), **grids).to_frame()  # pyright: ignore[reportArgumentType]
    assert told.equals(vg.phase(fpr_grid="0", fnr_grid="0.25", group_size="8").to_frame())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        vg.nosuch  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
    assert set(dir(vg)) >= set(VERBS)
