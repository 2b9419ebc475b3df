"""`verigap validate`: what is calibrated on, what is forecast, and every score recomputed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from empirical import figures
from empirical.figures import draw_curves, draw_validation
from empirical.validate.forecast import split_rows, validate_forecast
from empirical.validate.score import noise_floor, rmse_difference
from fits import InputError, parse_selection, read_runs
from fits.drawing import save
from tests.builders import FLOW_SAMPLES, FLOW_STEPS, ROOT, flow_runs
from tests.commands.command import refused, verigap
from tests.shared_data import shared_data

CAMPAIGN = ROOT / "empirical" / "results" / "cpu-campaign"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    flow_runs().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def done(runs: Path) -> dict[str, Any]:
    """One run of the command with everything it writes."""
    command = verigap(
        *("validate", runs, "--calibrate-on", "arm=clean", "--warmup-steps", 0, "--json"),
        *("--figure", runs.with_name("figure.png"), "--out", runs.with_name("calibration.json")),
    )
    assert command.code == 0, command.err
    return {
        "document": command.document,
        "err": command.err,
        "rows": pd.read_csv(runs.with_name("figure.csv")),
        "folder": runs.parent,
    }


def test_a_known_truth_is_forecast_within_its_intervals(done: dict[str, Any]) -> None:
    document = done["document"]
    assert document["kind"] == "curves"
    assert document["calibration_rows"] == 2 * len(FLOW_STEPS)
    assert document["forecast_rows"] == 6 * len(FLOW_STEPS)
    assert list(document["by_group"]) == ["both", "fn", "fp"]
    assert document["width90"] > 2.0 * document["rmse"]
    assert document["optimiser"] == "adam"
    assert "assumed" in document["optimiser_basis"]
    assert sum(document["laws"].values()) == pytest.approx(1.0)
    # Of 60 rows in 90 % intervals; the bounds are 4 binomial standard errors away.
    assert 0.75 <= document["coverage90"] <= 1.0
    for name in ("no-gap", "time-scaled-by-J"):
        baseline = document["baselines"][name]
        assert baseline["status"] == "identified"
        assert baseline["rmse"] is not None


def test_one_noisy_arm_brings_a_known_truth_to_the_noise_floor() -> None:
    chosen = parse_selection(["arm=clean", "arm=both"])
    report = validate_forecast(flow_runs(), calibrate_on=chosen).report
    assert report.noise_floor is not None
    assert report.rmse < 2.0 * report.noise_floor
    assert report.coverage90 >= 0.8


def test_an_unknown_optimiser_is_refused(runs: Path) -> None:
    said = refused("validate", runs, "--calibrate-on", "arm=clean", "--optimiser", "lion")
    assert "optimiser must be one of" in said
    assert "lion" in said


def test_a_clean_arm_that_learns_nothing_forecasts_that_nothing_is_learnt() -> None:
    rng = np.random.default_rng(5)
    frame = flow_runs(seeds=1).assign(accuracy=lambda f: rng.normal(0.11, 0.01, len(f)))
    report = validate_forecast(frame, calibrate_on=parse_selection(["arm=clean"])).report
    assert report.rmse < 0.025
    assert report.coverage90 > 0.8


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("prompts_per_step", None, "column prompts_per_step: empty"),
        ("beta2", "x", "column beta2: 'x' is not a finite number"),
    ],
)
def test_cells_of_optional_columns_are_checked_too(
    tmp_path: Path, column: str, cell: Any, said: str
) -> None:
    frame = flow_runs(seeds=1).astype({"prompts_per_step": object})
    frame["beta2"] = 0.99
    frame[column] = frame[column].astype(object)
    frame.loc[frame["arm"] == "fp", column] = cell
    frame.to_csv(tmp_path / "runs.csv", index=False)
    assert said in refused("validate", tmp_path / "runs.csv", "--calibrate-on", "arm=clean")


def test_one_row_at_step_0_calibrates_and_forecasts() -> None:
    frame = flow_runs(seeds=1)
    done = validate_forecast(frame, calibrate_on=parse_selection(["arm=clean,step=0"]))
    rows = done.forecasts[done.forecasts["step"] == 0]
    assert rows["forecast"].to_numpy() == pytest.approx(rows["accuracy"].to_numpy(), abs=0.05)


def test_every_score_can_be_recomputed_from_the_rows(done: dict[str, Any]) -> None:
    document, drawn = done["document"], done["rows"]
    rows = drawn[drawn["shows"] == "forecast row"]
    assert len(rows) == document["forecast_rows"]
    error = rows["forecast"] - rows["accuracy"]
    assert document["rmse"] == pytest.approx(float(np.sqrt(np.mean(error**2))))
    assert document["bias"] == pytest.approx(float(error.mean()))
    inside = (rows["accuracy"] >= rows["low90"]) & (rows["accuracy"] <= rows["high90"])
    assert document["coverage90"] == pytest.approx(float(inside.mean()))
    low, high = document["coverage90_ci"]
    assert low < document["coverage90"] <= high
    # Wilson's interval solves (p - q)^2 = z^2 q (1 - q)/n.
    for q in (low, high):
        squared = 1.959964**2 * q * (1.0 - q) / len(rows)
        assert (document["coverage90"] - q) ** 2 == pytest.approx(squared, rel=1e-3, abs=1e-9)
    for group, score in document["by_group"].items():
        mine = error[rows["group"] == group]
        assert score["rows"] == len(mine)
        assert score["rmse"] == pytest.approx(float(np.sqrt(np.mean(mine**2))))
    for name, baseline in document["baselines"].items():
        if baseline["status"] == "identified":
            theirs = rows[name] - rows["accuracy"]
            assert baseline["rmse"] == pytest.approx(float(np.sqrt(np.mean(theirs**2))))
            assert baseline["difference"] == pytest.approx(document["rmse"] - baseline["rmse"])
            assert set(baseline["by_group"]) == set(document["by_group"])
        else:
            assert baseline["rmse"] is None
            assert baseline["aliased"]
            assert name not in rows.columns
    a = rows["accuracy"]
    floor = float(np.sqrt(np.mean(a * (1 - a) / FLOW_SAMPLES)))
    assert document["noise_floor"] == pytest.approx(floor)


def test_the_figure_and_the_calibration_are_written(done: dict[str, Any]) -> None:
    assert (done["folder"] / "figure.png").stat().st_size > 20_000
    stored = json.loads((done["folder"] / "calibration.json").read_text())
    assert stored["calibrated_on"] == "arm=clean"
    assert stored["calibrated"]["step"] == [0, 300]
    assert stored["calibrated"]["fpr"] == [0, 0]
    assert "figure.png" in done["err"]


def test_the_human_view_says_what_is_unidentified_and_why(runs: Path) -> None:
    command = verigap("validate", runs, "--calibrate-on", "arm=clean,seed=0", "--group", "arm")
    assert command.code == 0, command.err
    said = " ".join(command.out.split())
    assert "quadratic: fpr = 0" in said
    assert "assumed, since the run table does not say" in said
    assert "jackknife t over 4 groups" in said  # the clean arm's second seed is forecast too
    assert "runs.csv: a CSV table" in command.err


def test_only_the_selected_rows_are_calibrated_on(runs: Path) -> None:
    """Whatever stands in the rows to forecast, forecasts stay as they are."""
    frame = read_runs(runs).frame
    selection = parse_selection(["arm=clean,seed=0", "arm=fp,seed=0"])
    first = validate_forecast(frame, calibrate_on=selection)
    other = frame.assign(
        accuracy=np.where(
            frame["arm"].isin(["clean", "fp"]) & (frame["seed"] == 0), frame["accuracy"], 0.5
        )
    )
    second = validate_forecast(other, calibrate_on=selection)
    np.testing.assert_array_equal(first.forecasts["forecast"], second.forecasts["forecast"])
    np.testing.assert_array_equal(first.forecasts["low90"], second.forecasts["low90"])
    for name in ("no-gap", "margin-linear"):
        np.testing.assert_array_equal(first.forecasts[name], second.forecasts[name])
    assert len(first.shown) == 2 * len(FLOW_STEPS)
    assert len(first.shown) + len(first.forecasts) == len(frame)


def test_two_arms_identify_the_margin_at_every_step(runs: Path) -> None:
    frame = read_runs(runs).frame
    selection = parse_selection(["arm=clean", "arm=fp"])
    baselines = validate_forecast(frame, calibrate_on=selection).report.baselines
    assert baselines["margin-linear"].status == "identified"
    assert baselines["margin-logit"].status == "identified"
    # fpr^2 = 0.3 fpr holds in the calibrated rows too, but in those to forecast as well: harmless.
    assert baselines["additive"].aliased == ("fnr = 0", "fnr^2 = 0")


def test_final_accuracies_need_no_step(tmp_path: Path) -> None:
    frame = flow_runs(seeds=1)
    last = frame[frame["step"] == 300].drop(columns=["step", "seed"])
    extra = pd.concat(
        [last.assign(run_id=last["run_id"] + f"-{i}", accuracy=last["accuracy"]) for i in range(3)]
    )
    path = tmp_path / "final.csv"
    extra.to_csv(path, index=False)
    figure = tmp_path / "figure.svg"
    command = verigap("validate", path, "--calibrate-on", "fnr=0", "--figure", figure, "--json")
    assert command.code == 0, command.err
    assert "accuracy measured" in figure.read_text()
    document = command.document
    assert document["kind"] == "final accuracies"
    assert document["baselines"]["time-scaled-by-J"]["status"] == "unidentified"
    assert document["baselines"]["margin-linear"]["status"] == "identified"


def test_the_figure_takes_any_name_and_any_number_of_groups(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = read_runs(runs).frame
    frame["arm"] = frame["arm"].replace({"both": "$J_{both$"})
    validation = validate_forecast(frame, calibrate_on=parse_selection(["arm=clean"]))
    panels = draw_validation(validation)
    save(panels, tmp_path / "panels.svg")
    monkeypatch.setattr(figures, "MOST_PANELS", 2)
    diagonal = draw_validation(validation)
    save(diagonal, tmp_path / "diagonal.svg")
    assert "accuracy forecast" not in (tmp_path / "panels.svg").read_text()
    assert "accuracy forecast" in (tmp_path / "diagonal.svg").read_text()
    pd.testing.assert_frame_equal(panels.data, diagonal.data)


def test_conditions_of_one_panel_are_told_apart_where_they_are_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = flow_runs(seeds=1)
    larger = frame[frame["arm"] != "clean"].assign(group_size=16)
    larger["run_id"] += "-16"
    both = pd.concat([frame, larger], ignore_index=True)
    calibrate_on = parse_selection(["arm=clean"])
    validation = validate_forecast(both, calibrate_on=calibrate_on, group="arm")

    def named() -> list[str]:
        (legend,) = draw_curves(validation).figure.legends
        return [text.get_text() for text in legend.get_texts()]

    assert named()[-2:] == ["group_size 8", "group_size 16"]
    monkeypatch.setattr(figures, "MOST_COLOURS", 1)
    assert not any("group_size" in name for name in named())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--calibrate-on", "arm=none"), "no row satisfies --calibrate-on arm=none"),
        (("--calibrate-on", "fpr>=0"), "every row satisfies --calibrate-on fpr>=0"),
        (("--calibrate-on", "colour=red"), "no column 'colour'"),
        (("--calibrate-on", "arm"), "is no comparison"),
        ((), "--calibrate-on"),
        (("--calibrate-on", "arm=clean", "--group", "colour"), "colour"),
        (("--calibrate-on", "arm=clean", "--warmup-steps", "-1"), "--warmup-steps"),
        (("--calibrate-on", "arm=clean", "--n-eval", "0"), "--n-eval"),
        (("--calibrate-on", "arm=clean", "--figure", "runs.gif"), ".pdf, .svg, .png"),
    ],
)
def test_mistakes_are_refused_in_one_line(runs: Path, options: tuple[str, ...], named: str) -> None:
    assert named in refused("validate", runs, *options, "--json")


def test_a_column_that_is_missing_or_several_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    frame = flow_runs(seeds=1)
    frame.drop(columns="group_size").to_csv(path, index=False)
    assert "group_size" in refused("validate", path, "--calibrate-on", "arm=clean")
    frame.assign(model=np.where(frame["arm"] == "fn", "7B", "1.5B")).to_csv(path, index=False)
    line = refused("validate", path, "--calibrate-on", "arm=clean")
    assert "several models (1.5B, 7B)" in line or "several models (7B, 1.5B)" in line
    frame.assign(warmup_steps=np.where(frame["arm"] == "fn", 10, 50)).to_csv(path, index=False)
    assert "warmup_steps has several values" in refused(
        "validate", path, "--calibrate-on", "arm=clean"
    )


def test_a_split_shares_no_row() -> None:
    frame = flow_runs(seeds=1)
    shown, targets = split_rows(frame, parse_selection(["fpr=0", "fnr=0"]))
    assert set(shown["arm"]) == {"clean", "fp", "fn"}
    assert set(targets["arm"]) == {"both"}
    with pytest.raises(InputError, match="none is left to forecast"):
        split_rows(frame, parse_selection(["step>=0"]))


def test_roughness_recovers_the_noise_of_unevenly_spaced_evaluations() -> None:
    rng = np.random.default_rng(5)
    sigma, runs = 0.02, 400
    steps = np.array([0, 10, 20, 40, 60, 80, 100, 150, 200, 300])
    rows = pd.concat(
        [
            pd.DataFrame(
                {
                    "run_id": str(run),
                    "step": steps,
                    "accuracy": 0.3 + 0.001 * steps + sigma * rng.normal(size=len(steps)),
                }
            )
            for run in range(runs)
        ]
    )
    floor, basis = noise_floor(rows)
    # Relative standard error of a variance from 400 runs of 8 dependent squares: about 4 %.
    assert floor == pytest.approx(sigma, rel=0.06)
    assert "roughness" in basis


def test_without_samples_or_curves_there_is_no_floor() -> None:
    rows = pd.DataFrame({"run_id": ["a", "b"], "accuracy": [0.4, 0.6]})
    floor, reason = noise_floor(rows)
    assert floor is None
    assert "n_eval is not known" in reason
    assert noise_floor(rows.assign(step=10))[0] is None
    floor, _ = noise_floor(rows.assign(n_eval=100))
    assert floor == pytest.approx(np.sqrt(0.24 / 100))


def test_the_paired_interval_covers_the_difference_of_rmses() -> None:
    """24 groups, each with an error of its own that both forecasts share in part."""
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(24), 5)
    bias, spread = np.array([0.02, 0.03]), np.array([0.03, 0.05])
    truth = float(np.subtract(*np.sqrt(bias**2 + spread**2 + 0.02**2)))
    covered = 0
    for _ in range(600):
        shared = rng.normal(size=24)
        own = rng.normal(size=(2, 24))
        level = bias[:, None] + spread[:, None] * (0.6 * shared + 0.8 * own)
        errors = level[:, groups] + 0.02 * rng.normal(size=(2, len(groups)))
        _, interval, _ = rmse_difference(errors[0], errors[1], groups)
        assert interval is not None
        covered += interval[0] <= truth <= interval[1]
    # Four binomial standard errors about 95 % are 91.4 to 98.6 %.
    assert 0.914 <= covered / 600 <= 0.986


def test_forecasts_that_are_equally_good_are_rarely_told_apart() -> None:
    """Groups of very unequal difficulty, two forecasts of the same law: at most twice the nominal 5 %."""
    rng = np.random.default_rng(9)
    groups = np.arange(14)
    apart = 0
    for _ in range(600):
        difficulty = 0.02 * np.exp(0.7 * rng.normal(size=14))
        errors = difficulty * rng.normal(size=(2, 14))
        _, interval, _ = rmse_difference(errors[0], errors[1], groups)
        assert interval is not None
        apart += not interval[0] <= 0.0 <= interval[1]
    assert 0 < apart / 600 <= 0.10


def test_one_group_has_no_interval_and_equal_forecasts_do_not_differ() -> None:
    errors = np.array([0.1, -0.2, 0.3])
    one = np.array(["a", "a", "a"])
    assert rmse_difference(errors, 2 * errors, one)[1] is None
    difference, interval, basis = rmse_difference(errors, errors, np.array(["a", "b", "c"]))
    assert difference == 0.0
    assert interval == (0.0, 0.0)
    assert "3 groups" in basis


def not_beaten(document: dict[str, Any]) -> None:
    """The best identified baseline is no better by its paired interval."""
    identified = [b for b in document["baselines"].values() if b["status"] == "identified"]
    best = min(identified, key=lambda baseline: baseline["rmse"])
    low, high = best["difference_ci"]
    assert low <= 0.0
    assert low <= best["difference"] <= high


def test_real_curves_calibrated_on_the_clean_arm() -> None:
    command = verigap(
        *("validate", shared_data("math_trajectories/mL4.csv")),
        *("--map", "accuracy=accuracy_mean_of_5_seeds,run_id=arm"),
        *("--calibrate-on", "arm=clean", "--group", "arm", "--json"),
    )
    assert command.code == 0, command.err
    document = command.document
    assert document["forecast_rows"] == 68
    assert set(document["by_group"]) == {"fp", "fn"}
    rmse = {name: one["rmse"] for name, one in document["baselines"].items()}
    assert rmse["no-gap"] == pytest.approx(0.065, abs=5e-4)
    assert rmse["time-scaled-by-J"] == pytest.approx(0.050, abs=5e-4)
    assert rmse["time-scaled-by-J-warmup"] == pytest.approx(0.041, abs=6e-4)
    assert rmse["quadratic"] is None
    assert "roughness" in document["noise_floor_basis"]
    assert document["rmse"] <= 0.025
    not_beaten(document)
    assert document["coverage90"] >= 0.8
    assert document["width90"] <= 4.5 * document["rmse"]


def test_a_task_whose_gradient_is_noisy(tmp_path: Path) -> None:
    curves = pd.read_csv(shared_data("addition_dynamics/curves.csv"))
    curves = curves[curves["arm"].isin(["clean", "flip", "randfp"])]
    curves["run_id"] = curves["exp"] + curves["arm"] + curves["seed"].astype(str)
    curves = curves.rename(columns={"n": "n_eval"}).assign(group_size=8, prompts_per_step=32)
    curves.to_csv(tmp_path / "runs.csv", index=False)
    command = verigap(
        "validate", tmp_path / "runs.csv", "--calibrate-on", "arm=clean", "--group", "arm", "--json"
    )
    assert command.code == 0, command.err
    document = command.document
    assert document["rmse"] <= 0.031
    not_beaten(document)
    assert document["coverage90"] >= 0.8
    assert document["width90"] <= 4.5 * document["rmse"]


def test_the_seed_grid_calibrated_on_one_sided_noise() -> None:
    grid = shared_data("seed_grid/batch32_r8_metrics.csv")
    model = next(name for name in read_runs(grid).frame["model"].unique() if "1.5B" in name)
    command = verigap(
        *("validate", grid, "--where", f"model={model}"),
        *("--calibrate-on", "fpr=0", "--calibrate-on", "fnr=0", "--json"),
    )
    assert command.code == 0, command.err
    document = command.document
    assert document["calibration_rows"] == 11
    assert document["forecast_rows"] == len(document["by_group"]) == 25
    assert document["noise_floor"] == pytest.approx(0.029, abs=5e-4)
    assert document["baselines"]["quadratic"]["aliased"] == ["fpr*fnr = 0"]
    for name in ("no-gap", "margin-linear", "sqrt-margin", "margin-logit", "additive"):
        baseline = document["baselines"][name]
        assert baseline["status"] == "identified"
        low, high = baseline["difference_ci"]
        assert low < high < 0.0
    assert document["rmse"] <= 0.05
    assert document["coverage90"] >= 0.8


@pytest.mark.parametrize("group_size", [4, 8, 32])
def test_our_campaign_calibrated_on_the_clean_arm_of_one_group_size(group_size: int) -> None:
    command = verigap(
        *("validate", CAMPAIGN, "--calibrate-on", f"arm=clean,group_size={group_size}"),
        *("--warmup-steps", 0, "--group", "arm", "--json"),
    )
    assert command.code == 0, command.err
    document = command.document
    frame = pd.read_parquet(CAMPAIGN / "runs.parquet")
    assert document["forecast_rows"] == len(frame) - document["calibration_rows"]
    assert {"trigger0.2", "drgrpo-fpr0.4", "inverted"} <= set(document["by_group"])
    identified = [b for b in document["baselines"].values() if b["status"] == "identified"]
    best = min(identified, key=lambda baseline: baseline["rmse"])
    assert document["rmse"] < best["rmse"]
    # Against no-gap, whose error is that of two arms (coin, inverted), an interval over arms holds 0.
    assert group_size != 8 or best["difference_ci"][1] < 0.0
    assert document["coverage90"] >= 0.8
    assert document["width90"] <= 4.5 * document["rmse"]
