"""`verigap predict`: what a stored calibration says of one verifier and budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from empirical.validate.forecast import Validation, validate_forecast
from empirical.validate.predict import read_calibration, stored
from fits import parse_selection
from tests.builders import FLOW_SAMPLES, flow_runs
from tests.commands.command import refused, verigap
from verigap.console import write_json


@pytest.fixture(scope="module")
def validation() -> Validation:
    return validate_forecast(
        flow_runs(seeds=1), calibrate_on=parse_selection(["arm=clean", "arm=fp"])
    )


@pytest.fixture(scope="module")
def calibration(validation: Validation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    write_json(path, stored(validation, source="runs.csv"))
    return path


def ask(path: Path, **inputs: float) -> tuple[object, ...]:
    given = {"fpr": 0.1, "fnr": 0.0, "group-size": 8, "steps": 100} | inputs
    return ("predict", path, *(part for k, v in given.items() for part in (f"--{k}", v)))


def plan_of(calibration: Path) -> tuple[object, ...]:
    given = {"fpr": 0.1, "fnr": 0.2, "pass-rate": 0.3}
    return (
        "plan",
        "--calibration",
        calibration,
        *(part for k, v in given.items() for part in (f"--{k}", v)),
    )


def test_a_stored_calibration_forecasts_as_it_did_before(
    validation: Validation, calibration: Path
) -> None:
    back = read_calibration(calibration)
    again = back.calibration.forecast(validation.forecasts)
    assert again.accuracy == pytest.approx(validation.forecasts["forecast"].to_numpy(), abs=1e-12)
    assert again.low90 == pytest.approx(validation.forecasts["low90"].to_numpy(), abs=1e-12)
    assert (back.calibrated_on, back.source, back.rows) == ("arm=clean or arm=fp", "runs.csv", 20)
    row = validation.forecasts[validation.forecasts["step"] == 100].iloc[0]
    inputs = {"fpr": row["fpr"], "fnr": row["fnr"], "n-eval": row["n_eval"]}
    document = verigap(*ask(calibration, **inputs), "--json").document
    assert document["accuracy"] == pytest.approx(row["forecast"], abs=1e-9)
    assert document["ci90"] == pytest.approx([row["low90"], row["high90"]], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("discrepancy", -1.0),
        ("white", float("inf")),
        ("prior_sd", [0.0] * 7),
        ("prior_mean", [0.0] * 6),
        ("weight", None),
        ("members", None),
        ("law", None),
        ("own", None),
        ("cells", [[]]),
    ],
)
def test_a_calibration_that_no_run_could_give_is_refused(
    name: str, value: object, calibration: Path, tmp_path: Path
) -> None:
    document = json.loads(calibration.read_text())
    fit = document["model"]["fit"]
    if value is None:  # an array of the right shape with one impossible number
        row = fit[name][0] if name == "members" else fit[name]
        row[0] = {"weight": -0.5, "members": float("nan"), "law": 99, "own": 2.0}[name]
    else:
        fit[name] = value
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document))
    done = verigap(*ask(path), "--json")
    assert done.code == 2
    assert f"fit.{name}" in done.err
    assert done.err.count("\n") == 1


def test_a_calibration_must_say_whether_its_table_had_steps(
    calibration: Path, tmp_path: Path
) -> None:
    document = json.loads(calibration.read_text())
    document["model"]["timed"] = "no"
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document))
    assert "timed must be true or false" in refused(*ask(path))


def test_the_document_says_what_was_asked_and_what_it_rests_on(calibration: Path) -> None:
    done = verigap(*ask(calibration), "--json")
    assert done.code == 0, done.err
    document = done.document
    low, high = document["ci90"]
    assert 0.0 <= low < document["accuracy"] < high <= 1.0
    assert (document["fpr"], document["fnr"]) == (0.1, 0.0)
    assert (document["group_size"], document["steps"], document["n_eval"]) == (8, 100, None)
    assert (document["estimator"], document["prompts_per_step"]) == ("grpo", 8)
    assert not any("was not calibrated" in one for one in document["warnings"])


def test_what_predict_is_not_told_is_said_to_be_the_first_row_s(tmp_path: Path) -> None:
    frame = flow_runs(seeds=1)
    frame["estimator"] = frame["arm"].map(lambda arm: "dr_grpo" if arm == "clean" else "grpo")
    table, out = tmp_path / "runs.csv", tmp_path / "c.json"
    frame.to_csv(table, index=False)
    chosen = ("--calibrate-on", "arm=clean", "--calibrate-on", "arm=fp")
    notes = verigap("validate", table, *chosen, "--out", out, "--json").document["notes"]
    (note,) = (one for one in notes if "differ in" in one)
    assert "differ in estimator" in note
    assert note.endswith("dr_grpo")
    assert "Assumed: dr_grpo, 8 prompts a step, adam." in " ".join(verigap(*ask(out)).out.split())


def test_unless_told_an_evaluation_is_as_large_as_the_calibrated_ones(calibration: Path) -> None:
    told, untold, small = (
        verigap(*ask(calibration, **n), "--json").document["ci90"]
        for n in ({"n-eval": FLOW_SAMPLES}, {}, {"n-eval": FLOW_SAMPLES // 100})
    )
    assert untold == pytest.approx(told, abs=1e-9)
    assert small[1] - small[0] > 1.5 * (told[1] - told[0])


def test_the_length_of_a_run(validation: Validation, calibration: Path, tmp_path: Path) -> None:
    start = verigap(*ask(calibration, fpr=0.0, steps=0), "--json").document
    clean = validation.shown[(validation.shown["step"] == 0) & (validation.shown["fpr"] == 0)]
    assert start["accuracy"] == pytest.approx(clean["accuracy"].iloc[0], abs=0.05)
    unsaid = verigap("predict", calibration, "--fpr", 0.1, "--fnr", 0, "--group-size", 8, "--json")
    assert unsaid.document["steps"] == 300
    # A table of final accuracies without a step says nothing about other lengths.
    final = flow_runs(seeds=1).query("step == 300").drop(columns="step")
    table = tmp_path / "final.csv"
    final.to_csv(table, index=False)
    out = tmp_path / "final.json"
    assert verigap("validate", table, "--calibrate-on", "fpr=0", "--out", out).code == 0
    asked = ("predict", out, "--fpr", 0.3, "--fnr", 0, "--group-size", 8)
    assert verigap(*asked, "--json").document["steps"] is None
    assert "its table had no step" in refused(*asked, "--steps", 300)
    plans = [verigap(*plan_of(out), "--steps", steps, "--json").document for steps in (300, 9000)]
    gains = [{one["name"]: one["accuracy_gain"] for one in found["levers"]} for found in plans]
    assert gains[0] == gains[1]
    assert "twice the steps" not in gains[0]
    assert any("taken to be as long as this one" in said for said in plans[0]["assumptions"])


def test_noise_costs_accuracy_and_steps_bring_it(calibration: Path) -> None:
    at = {
        (fpr, steps): verigap(*ask(calibration, fpr=fpr, steps=steps), "--json").document[
            "accuracy"
        ]
        for fpr in (0.0, 0.3)
        for steps in (20, 200)
    }
    assert at[0.3, 20] < at[0.0, 20] < at[0.0, 200]
    assert at[0.3, 20] < at[0.3, 200] < at[0.0, 200]


def test_inputs_outside_the_calibrated_range_are_warned_about(calibration: Path) -> None:
    asked = {"fpr": 0.5, "fnr": 0.2, "group-size": 64, "steps": 900}
    done = verigap(*ask(calibration, **asked))
    assert done.code == 0, done.err
    assert "fpr 0.5 was not calibrated (in [0, 0.3])" in done.err
    assert "fnr 0.2 was not calibrated (at 0 only)" in done.err
    assert "group_size 64 was not calibrated (at 8 only)" in done.err
    assert "step 900 was not calibrated (in [0, 300])" in done.err
    assert "Calibrated on arm=clean or arm=fp of runs.csv" in " ".join(done.out.split())
    document = verigap(*ask(calibration, **asked), "--json").document
    assert sum("was not calibrated" in warning for warning in document["warnings"]) == 4


def test_ten_times_the_longest_run_is_the_furthest(calibration: Path) -> None:
    assert verigap(*ask(calibration, steps=3000), "--json").code == 0
    said = refused(*ask(calibration, steps=3001))
    assert "steps 3001 is more than 10 times the longest calibrated run (300 steps)" in said


def test_plan_refuses_the_lengths_that_predict_does(calibration: Path) -> None:
    """`plan` named accuracies at any length, and so did its lever of twice the steps."""
    said = refused(*plan_of(calibration), "--steps", 3001)
    assert said == refused(*ask(calibration, steps=3001))
    levers = {}
    for steps in (1500, 1501):
        document = verigap(*plan_of(calibration), "--steps", steps, "--json").document
        levers[steps] = {lever["name"] for lever in document["levers"]}
        told = any("twice the steps is left out" in said for said in document["assumptions"])
        assert told == ("twice the steps" not in levers[steps])
    assert levers[1500] - levers[1501] == {"twice the steps"}


def test_lists_are_forecast_as_each_of_them_alone(calibration: Path) -> None:
    asked = ("predict", calibration, "--fpr", "0.1,0.3", "--fnr", "0", "--group-size", "8,16")
    done = verigap(*asked, "--steps", "50,200", "--json")
    assert done.code == 0, done.err
    document = done.document
    assert document["fpr"] == [0.1] * 4 + [0.3] * 4
    assert document["group_size"] == [8, 8, 16, 16] * 2
    assert document["steps"] == [50, 200] * 4
    alone = verigap(*ask(calibration, fpr=0.3, steps=200, **{"group-size": 16}), "--json").document
    assert document["accuracy"][-1] == pytest.approx(alone["accuracy"], abs=1e-12)
    assert document["gap_ci90"][-1] == pytest.approx(alone["gap_ci90"], abs=1e-12)
    assert document["forecasts"][-1]["found"] == alone["found"]
    assert "is no number" in refused(
        "predict", calibration, *("--fpr", "a"), *("--fnr", 0), *("--group-size", 8)
    )
    two = ("--fpr", "0.1,0.2", "--fnr", "0.1,0.2,0.3", "--group-size", 8)
    assert "fpr and fnr must be as many (2 and 3)" in refused("predict", calibration, *two)


def test_the_gap_to_clean_comes_with_its_interval(calibration: Path) -> None:
    noisy = verigap(*ask(calibration, fpr=0.3), "--json").document
    clean = verigap(*ask(calibration, fpr=0.0), "--json").document
    low, high = noisy["gap_ci90"]
    assert low < noisy["gap"] < high
    assert noisy["gap"] == pytest.approx(clean["accuracy"] - noisy["accuracy"], abs=1e-9)
    assert clean["gap"] == pytest.approx(0.0, abs=1e-9)


def test_it_repeats_what_validate_found(
    validation: Validation, calibration: Path, tmp_path: Path
) -> None:
    document = verigap(*ask(calibration), "--json").document
    report = validation.report
    assert document["found"]["coverage90"] == pytest.approx(report.coverage90)
    assert document["found"]["rows"] == report.forecast_rows
    worse = {name for name, one in report.baselines.items() if one.rmse and one.rmse <= report.rmse}
    assert set(document["found"]["not_beaten"]) == worse
    only = validate_forecast(flow_runs(seeds=1), calibrate_on=parse_selection(["arm=clean"]))
    write_json(tmp_path / "c.json", stored(only, source="runs.csv"))
    said = verigap(*ask(tmp_path / "c.json"), "--json").document["warnings"]
    assert any("no noisy arm was calibrated" in one for one in said)


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"fpr": 1.2}, "fpr"),
        ({"fnr": float("nan")}, "fnr"),
        ({"group-size": 1}, "group_size"),
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"n-eval": 0}, "n_eval must be at least 1, got 0"),
    ],
)
def test_inputs_out_of_range_are_refused(
    calibration: Path, inputs: dict[str, float], named: str
) -> None:
    assert named in refused(*ask(calibration, **inputs))


def test_files_that_are_no_calibration_are_refused(calibration: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    good = json.loads(calibration.read_text())
    assert "no such file" in refused(*ask(path))
    for text, named in (
        ("{", "is no JSON"),
        ("[1, 2]", "is no calibration"),
        ('{"rmse": 0.1}', "is no calibration"),
        (json.dumps(good | {"version": 99}), "version 99"),
        (json.dumps(good | {"model": {}}), "damaged calibration"),
        (json.dumps(good | {"model": good["model"] | {"given": {}}}), "damaged calibration"),
        (json.dumps({k: v for k, v in good.items() if k != "calibrated"}), "damaged calibration"),
    ):
        path.write_text(text)
        assert named in refused(*ask(path))
        assert "c.json" in refused(*ask(path))
