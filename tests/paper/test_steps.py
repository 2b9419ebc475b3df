"""The page of the step logs: remade from the committed tables, and honest about what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from empirical.step_law.logged import (
    gradient_level,
)
from empirical.step_law.real import GRADIENT, WITHIN, ZERO
from paper import __main__ as module
from paper.__main__ import DERIVED, GENERATED, STEPS, main, outside, write_steps
from paper.pages.gradient_level import document
from tests.builders import independent, logged_campaign, rollouts_csv


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the workplace's rollouts, which the command takes unless told others."""
    monkeypatch.setattr(module, "SHARED", Path("/nowhere"))


def test_logs_made_before_the_variance_within_groups_was_kept(tmp_path: Path) -> None:
    runs = [independent("fpr0.4", seed, 0.4, 0.0) for seed in range(2)]
    level = gradient_level(
        logged_campaign(tmp_path / "c", runs, within=False), check=None, derived=tmp_path / "none"
    )
    (arm,) = level.arms
    assert arm.reward_variance is None
    assert arm.gradient is None
    write_steps(level, tmp_path / "out")
    text = (tmp_path / "out" / "gradient-level.md").read_text()
    assert "No run here logs the variance within groups" in text
    assert "real groups" not in text.split("## What this cannot show")[0]


def test_the_committed_page_is_that_of_the_committed_tables(tmp_path: Path) -> None:
    level = gradient_level(derived=outside(GENERATED) / DERIVED)
    write_steps(level, tmp_path / "out")
    for name in (STEPS, Path("../outside", DERIVED)):
        assert (tmp_path / "out" / name).read_text() == (GENERATED / name).read_text()
    assert level.zero_advantage.p_value > 1e-3
    assert level.zero_advantage.worst_p > 1e-2
    assert level.rmse_given_right < 2.0 * level.rmse_expected
    assert level.clean_exact == level.clean_steps


def test_bad_input_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], honest: Path
) -> None:
    none, bare, out = tmp_path / "none", tmp_path / "bare", tmp_path / "out"
    clean = logged_campaign(tmp_path / "clean", [independent("clean", 0, 0.0, 0.0)])
    bare.mkdir()
    pd.read_parquet(clean / "runs.parquet").to_parquet(bare / "runs.parquet")
    (tmp_path / "spoiled" / "outside").mkdir(parents=True)
    (tmp_path / "spoiled" / "outside" / "real-groups.json").write_text("{}")
    for given, message in (
        ((none, honest, out), "no run table"),
        ((bare, honest, out), "no step logs"),
        ((honest, bare, out), "no step logs"),
        ((clean, clean, out), "nothing to hold against theory"),
        ((honest, honest, tmp_path / "spoiled" / "out"), "not numbers derived from real groups"),
    ):
        told = zip(("--campaign", "--check", "--out"), map(str, given), strict=True)
        assert main(["steps", *(word for pair in told for word in pair)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert (
        main(["steps", "--campaign", str(honest), "--rollouts", str(none), "--out", str(out)]) == 2
    )
    assert "no such file" in capsys.readouterr().err
    assert not out.exists()


def test_further_runs_are_those_beside_the_campaign_and_counted(tmp_path: Path) -> None:
    """The command takes no folder of this repository for another campaign."""
    seeds = range(2)
    alone = logged_campaign(
        tmp_path / "a" / "c", [independent("fpr0.4", s, 0.4, 0.0) for s in seeds]
    )
    beside = logged_campaign(
        tmp_path / "b" / "c", [independent("fpr0.4", s, 0.4, 0.0) for s in seeds]
    )
    logged_campaign(tmp_path / "b" / "gradient-check", [independent("fnr0.4", 7, 0.0, 0.4)])
    for given, said in ((alone, "2 runs (0 of them"), (beside, "3 runs (1 of them")):
        out = given.parent / "out"
        assert main(["steps", "--campaign", str(given), "--out", str(out)]) == 0
        assert said in (out / "gradient-level.md").read_text()


def test_scatter_that_is_not_theory_s_is_said_in_words(tmp_path: Path) -> None:
    runs = [independent("fpr0.4", seed, 0.4, 0.0) for seed in range(4)]
    level = gradient_level(
        logged_campaign(tmp_path / "c", runs), check=None, derived=tmp_path / "none"
    )

    def findings(dispersion: float, interval: tuple[float, float] | None) -> str:
        found = replace(level.zero_advantage, dispersion=dispersion, dispersion_ci=interval)
        page = document(replace(level, zero_advantage=found), command="c", figure="f")
        return page.split("## Zero-advantage")[0]

    assert "more scatter than theory's, by 50.0%" in findings(1.5, (1.2, 1.8))
    assert "less scatter than theory's, by 2.8%" in findings(0.972, (0.954, 0.991))
    assert "scatter" not in findings(1.01, (0.99, 1.03)).split("Reward variance")[0]
    assert "scatter" not in findings(1.5, None).split("Reward variance")[0]


def test_derived_numbers_stand_in_for_the_rollouts(honest: Path, tmp_path: Path) -> None:
    """Remade where the source is there, read where it is not: the same document either way."""
    out, again = tmp_path / "a" / "out", tmp_path / "b" / "out"
    csv = rollouts_csv(tmp_path / "r.csv")
    level = gradient_level(honest, check=None, rollouts=csv)
    assert level.real is not None
    assert level.real.advantage_error < 1e-12
    for name in (ZERO, WITHIN, GRADIENT):
        agreement = level.real.agreement(name)
        assert agreement.cells > 5
        assert agreement.p_value > 1e-3
    write_steps(level, out)
    derived = outside(out) / DERIVED
    assert len(json.loads(derived.read_text())["sha256"]) == 64
    kept = gradient_level(honest, check=None, derived=derived)
    write_steps(kept, again)
    for name in ("gradient-level.md", f"../outside/{DERIVED}", "figures/gradient-level.csv"):
        assert (again / name).read_text() == (out / name).read_text()
