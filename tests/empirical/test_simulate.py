"""`verigap drift` and `verigap simulate` as a shell sees them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from empirical.figures import draw_study
from empirical.simulate import run_spec, write_study
from empirical.simulated_studies import (
    PRESETS,
    SimulatedStudy,
    load_spec,
    preset_names,
    preset_spec,
)
from fits import read_runs
from fits.drawing import save
from tests.builders import SWEEP_SPEC, spec_file
from tests.commands.command import refused, verigap


def test_a_spec_becomes_a_run_table(tmp_path: Path) -> None:
    done = verigap("simulate", spec_file(tmp_path, SWEEP_SPEC), "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    document = done.document
    runs = read_runs(tmp_path / "out" / "runs.csv").frame
    assert document["runs"] == 12
    assert document["rows"] == len(runs) == 12 * 4  # steps 0, 5, 10, 12
    assert document["rollouts"] == 2 * 12 * 16 * (5 * 4 + 6)
    assert document["seconds"] > 0
    assert list(runs["arm"].unique()) == ["clean", "drift", "fp", "grader", "lot", "word"]
    start = runs[runs["step"] == 0]
    assert start["accuracy"].nunique() == 1  # the same prompts in every arm
    again = verigap("simulate", tmp_path / "out" / "spec.yaml", "--out", tmp_path / "b", "--json")
    assert again.code == 0, again.err
    one, two = (tmp_path / name / "runs.csv" for name in ("out", "b"))
    assert one.read_bytes() == two.read_bytes()  # the echoed spec is the whole spec


def test_evaluation_samples_are_whole_numbers_of_successes(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, SWEEP_SPEC + "n_eval: 64\n")
    assert verigap("simulate", spec, "--out", tmp_path, "--json").code == 0
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert (runs["n_eval"] == 64).all()
    assert ((runs["accuracy"] * 64) % 1 == 0).all()
    # One policy at step 0: every seed has evaluation samples of its own, which its arms share.
    start = runs[runs["step"] == 0]
    assert (start.groupby("seed")["accuracy"].nunique() == 1).all()
    assert start["accuracy"].nunique() == start["seed"].nunique() > 1


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("fpr: 0.3", "fpr: 1.2", "arms.fp.fpr"),
        ("wrong_modes", "wrong_mods", "population.wrong_mods: there is no such field"),
        ("group_size: 6", "group_size: 1", "arms: fp: group_size"),
        ("feature_share: 0.2", "feature: 0.2", "arms: word: feature: there is no such field"),
        (", correlation: 0.4", "", "arms.lot.noise.group.correlation: Field required"),
        ("fp:", "clean:", "the key 'clean' is given twice"),
        ("seeds: [0, 3]", "seeds: [3, 3]", "seeds must be distinct"),
        ("prompts_per_step: 16", "prompts_per_step: 41", "prompts_per_step 41 is above prompts 40"),
        ("seeds: [0, 3]", "seeds: [0, -3]", "seeds.1"),
        ("coupling: 0.5}", "coupling: 0.5, estimator: gpro}", "got 'gpro'"),
        ("arms:", "arms: [", "line 6"),
        ("training:", "- training:", "line "),
        ("fpr: 0.3", "fpr: 0.3, votes: 2", "votes must be an odd number of at least 1, got 2"),
        ("per_answer", "per_answer, votes: 3", "arms.grader: noise 'per_answer' has no 'votes'"),
        ("fpr: 0.3", "fpr: 0.3, fnr: 0.7, correction: backward", "divides by J"),
    ],
)
def test_a_bad_spec_is_named_in_one_line(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in SWEEP_SPEC
    path = spec_file(tmp_path, SWEEP_SPEC.replace(old, new))
    line = refused("simulate", path, "--out", tmp_path / "out")
    assert str(path) in line
    assert named in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[{name: fp, fpr: 0.3}]", "arms: {fp: {fpr: 0.3}}"),
        ("[{name: clean}, {name: fp, fpr: 0.3}]", "arms: {fp: {fpr: 0.3}}"),
        (
            "[{name: fp, fpr: 0.3}, {name: b, fnr: 0.1, noise: prompt}]",
            "arms: {b: {fnr: 0.1, noise: per_prompt}}",
        ),
        ("[a, b]", "arms: {clean: {}, fp: {fpr: 0.3}}"),
        ("{a: {fpr: 0.3, noise: prompt}}", "arms.a: is spelt {fpr: 0.3, noise: per_prompt} now"),
        ("{a: {fpr: 0.3, noise: answer}}", "arms.a: is spelt {fpr: 0.3, noise: per_answer} now"),
        (
            "{a: {fpr: 0.3, noise: group, correlation: 0.4}}",
            "arms.a: is spelt {fpr: 0.3, noise: {kind: group, correlation: 0.4}} now",
        ),
        (
            "{a: {fpr: 0.1, noise: trigger, selected: {fpr: 1.0}, population: {feature_share: 0.2}}}",
            "arms.a: is spelt {population: {feature_share: 0.2},"
            " noise: {kind: triggered, selected: {fpr: 1.0}, otherwise: {fpr: 0.1}}} now",
        ),
        (
            "{a: {fpr: 0.1, noise: {kind: trigger, selected: {fpr: 1.0}}}}",
            "arms.a: is spelt {noise: {kind: triggered, selected: {fpr: 1.0}, otherwise: {fpr: 0.1}}} now",
        ),
        (
            "{a: {noise: drift, end: {fnr: 0.4}, over: 10, votes: 1}}",
            "arms.a: is spelt {votes: 1, noise: {kind: drifting, end: {fnr: 0.4}, steps: 10}} now",
        ),
        (
            "{a: {noise: {kind: drifting, end: {fnr: 0.4}, over: 10}}}",
            "arms.a: is spelt {noise: {kind: drifting, end: {fnr: 0.4}, steps: 10}} now",
        ),
        (
            "{a: {noise: triggered, selected: {fpr: 1.0}}}",
            "arms.a: is spelt {noise: {kind: triggered, selected: {fpr: 1.0}}} now",
        ),
        (
            "{a: {correlation: 0.4}}",
            "arms.a: is spelt {noise: {kind: group, correlation: 0.4}} now",
        ),
    ],
)
def test_a_spelling_of_before_is_refused_with_todays(tmp_path: Path, old: str, new: str) -> None:
    """And today's is taken, of the arm itself or of the mapping of arms."""
    path = spec_file(tmp_path, f"arms: {old}\n")
    line = refused("simulate", path, "--out", tmp_path / "out")
    assert new in line
    assert not (tmp_path / "out").exists()
    flow = re.search(r"(?:write arms:|is spelt) ({.*})", line)
    assert flow is not None
    arms = yaml.safe_load(flow[1])
    arms = arms if "write arms" in line else {"a": arms}
    population = {"prompts": 8, "feature_share": 0.2}
    assert (
        SimulatedStudy.model_validate({"population": population, "arms": arms}).arms.keys()
        == arms.keys()
    )


def test_files_that_are_no_spec(tmp_path: Path) -> None:
    out = tmp_path / "out"
    empty, binary = tmp_path / "empty.yaml", tmp_path / "binary.yaml"
    empty.touch()
    binary.write_bytes(bytes(range(256)))
    assert "is empty" in refused("simulate", empty, "--out", out)
    assert "is not text" in refused("simulate", binary, "--out", out)
    assert "is a folder" in refused("simulate", tmp_path, "--out", out)
    assert "no such file" in refused("simulate", tmp_path / "none.yaml", "--out", out)
    assert "is a file" in refused("simulate", spec_file(tmp_path, SWEEP_SPEC), "--out", empty)
    assert "there is no preset 'zzz'" in refused("simulate", "--preset", "zzz", "--out", out)
    assert "give a SPEC.yaml or one --preset" in refused("simulate", "--out", out)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_runs_and_draws_its_figure(name: str, tmp_path: Path) -> None:
    spec = preset_spec(name)
    assert spec.about
    assert spec.panels
    short = spec.model_dump() | {"seeds": [0], "evaluate_every": 2}
    short["training"] = short["training"] | {"steps": 4}
    short["population"] = short["population"] | {"prompts": min(64, spec.population.prompts)}
    simulated = run_spec(SimulatedStudy.model_validate(short))
    table = write_study(SimulatedStudy.model_validate(short), simulated, tmp_path)
    assert len(read_runs(table).frame) == 3 * len(spec.arms)
    assert preset_spec(name) == load_spec(Path(str(PRESETS)) / f"{name}.yaml")
    drawing = draw_study(simulated.table, spec.panels, arms=spec.arms, about=spec.about)
    save(drawing, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000


def test_same_j_different_fate(tmp_path: Path) -> None:
    """Equal rates at step 0; random errors end near clean; a trigger ends in collapse, by dose."""
    done = verigap("simulate", "--preset", "same-j-different-fate", "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    runs = pd.read_csv(tmp_path / "runs.csv")
    first = runs[runs["step"] == 0].groupby("arm")
    start = first["accuracy"].mean()
    end = runs[runs["step"] == runs["step"].max()].groupby("arm")["accuracy"].mean()
    shares = (".1", ".2", ".3", ".4")
    for share in shares:
        for rate in ("marginal_fpr", "marginal_fnr", "fpr", "fnr"):
            of = first[rate].mean()
            assert of[f"random {share}"] == pytest.approx(of[f"trigger {share}"], abs=0.005)
        assert first["marginal_fpr"].mean()[f"random {share}"] == pytest.approx(float(share))
        assert end["clean"] - end[f"random {share}"] < 0.05
        assert end[f"trigger {share}"] < 0.5 * start[f"trigger {share}"]
    response = [end[f"trigger {share}"] for share in shares]
    assert response == sorted(response, reverse=True)
    assert response[0] > 5 * response[-1]


def test_names_are_text_and_not_markup(tmp_path: Path) -> None:
    """Brackets, dollars and colons of the user's, in the console and in the figure."""
    text = """
about: "hello [/b] a $x_{$ b :key:"
population: {prompts: 8}
training: {steps: 2}
arms:
  "a [/b]":
  "$J_{fpr$": {fpr: 0.2}
seeds: [0]
panels:
  - {title: "$t_{$"}
  - {arms: ["$J_{fpr$"]}
  - {x: fpr, at: last}
"""
    out = tmp_path / "m5[/b]"
    done = verigap("simulate", spec_file(tmp_path, text), "--out", out)
    assert done.code == 0, done.err
    for name in ("hello [/b] a $x_{$ b :key:", "a [/b]", "$J_{fpr$"):
        assert name in done.out
    assert "m5[/b]" in done.out.replace("\n", "")
    assert (out / "figure.png").stat().st_size > 5_000


def test_a_name_is_drawn_as_it_is_written() -> None:
    spec = SimulatedStudy.model_validate(
        {"arms": {"$x$": {}}, "panels": [{"title": "$y$"}], "about": "$z$", "seeds": [0]}
        | {"population": {"prompts": 8}, "training": {"steps": 2}}
    )
    figure = draw_study(run_spec(spec).table, spec.panels, about=spec.about).figure
    (axis,), (legend,) = figure.axes, figure.legends
    assert legend.get_texts()[0].get_text() == r"\$x\$"
    assert axis.get_title(loc="left") == r"\$y\$"
    assert figure.get_suptitle() == r"\$z\$"


def test_arms_share_colours_and_dashes_as_they_say() -> None:
    """Curves that coincide all show: dashes of different colours do not begin at one place."""
    spec = preset_spec("dr-grpo")
    short = spec.model_dump() | {"seeds": [0]}
    short["training"] = short["training"] | {"steps": 1}
    short["population"] = short["population"] | {"prompts": 8}
    spec = SimulatedStudy.model_validate(short)
    figure = draw_study(run_spec(spec).table, spec.panels, arms=spec.arms).figure
    for axis in figure.axes:
        fp, fn, dr_fp, dr_fn = axis.lines
        assert fp.get_color() == dr_fp.get_color() != fn.get_color() == dr_fn.get_color()
        assert fp.get_linestyle() == fn.get_linestyle() == "-"
        assert dr_fp.get_linestyle() == dr_fn.get_linestyle() == "--"
        patterns = [line._unscaled_dash_pattern for line in (dr_fp, dr_fn)]  # pyright: ignore[reportAttributeAccessIssue]
        assert patterns[0][1] == patterns[1][1]
        assert patterns[0][0] != patterns[1][0]


def test_an_arm_changes_only_the_fields_it_names() -> None:
    """Also inside difficulty: the study's point at location 0, moved to 1, is a point at 1."""
    spec = SimulatedStudy.model_validate(
        {
            "population": {
                "prompts": 8,
                "difficulty": {"family": "point", "location": 0, "scale": 0},
            },
            "training": {"steps": 1},
            "arms": {
                "there": {},
                "moved": {"population": {"difficulty": {"location": 1}}},
            },
            "seeds": [0],
        }
    )
    runs = run_spec(spec).table
    start = runs[runs["step"] == 0].set_index("arm")["accuracy"]
    assert start["there"] == pytest.approx(0.5)
    assert start["moved"] == pytest.approx(1 / (1 + np.exp(-1)))


def test_a_correction_that_does_nothing_is_said_to(tmp_path: Path) -> None:
    arms = """
arms:
  plain: {fpr: 0.2, fnr: 0.1}
  forward: {fpr: 0.2, fnr: 0.1, correction: forward}
  backward: {fpr: 0.2, fnr: 0.1, correction: backward, training: {estimator: dr_grpo}}
  voted: {fpr: 0.2, fnr: 0.1, votes: 3}
"""
    text = SWEEP_SPEC[: SWEEP_SPEC.index("arms:")] + arms.lstrip() + "seeds: [0]\n"
    done = verigap("simulate", spec_file(tmp_path, text), "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    *assumed, forward, backward, voted = done.document["notes"]
    assert len(assumed) == 1
    assert assumed[0].startswith("assumed: adam, learning rate 0.03 from the default of adam")
    assert forward.startswith("forward: forward: nothing")
    assert "times 1/J = 1.43" in backward
    assert voted.startswith("voted: majority: error rates below one half fall")
    runs = pd.read_csv(tmp_path / "runs.csv")
    end = runs[runs["step"] == 12].set_index("arm")
    assert end["accuracy"]["forward"] == pytest.approx(end["accuracy"]["plain"], rel=1e-9)
    assert end["marginal_fpr"]["voted"] == pytest.approx(3 * 0.04 * 0.8 + 0.008)


@pytest.mark.parametrize(
    ("panel", "named"),
    [
        ("{x: stepp}", "there is no column 'stepp'"),
        ("{arms: [cleen]}", "there is no arm 'cleen'"),
    ],
)
def test_bad_panels_are_named(tmp_path: Path, panel: str, named: str) -> None:
    path = spec_file(tmp_path, SWEEP_SPEC + f"panels: [{panel}]\n")
    assert named in refused("simulate", path, "--out", tmp_path / "out")


def test_what_a_verdict_hangs_on_is_in_the_table(tmp_path: Path) -> None:
    """The default is what TRL trains with; every row says by what it was made, and from where."""
    import pandas as pd

    text = """population: {prompts: 16}
training: {steps: 4}
arms:
  plain: {fpr: 0.2}
  own: {fpr: 0.2, training: {optimiser: sgd, learning_rate: 0.2, coupling: 0.0}}
evaluate_every: 2
seeds: [0]
"""
    done = verigap("simulate", spec_file(tmp_path, text), "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "runs.csv").groupby("arm").first()
    assert list(table.loc["plain", ["optimiser", "coupling", "learning_rate"]]) == [
        "adam",
        0.5,
        0.03,
    ]
    assert list(table.loc["own", ["optimiser", "coupling", "learning_rate"]]) == ["sgd", 0.0, 0.2]
    assert table["learning_rate_from"].to_dict() == {
        "plain": "the default of adam",
        "own": "the study",
    }
    assert [note[:14] for note in done.document["notes"]] == ["assumed (plain", "assumed (own):"]
