"""Days of use from the terminal alone: nine histories to a verdict; a study edited, stopped, gone on with, fitted."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.builders import tiny_study
from tests.commands.command import document, refused, verigap


def test_a_folder_of_nine_histories_to_a_figure_and_a_verdict(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    folder = tmp_path / "exports"
    folder.mkdir()
    step = np.arange(0, 201, 20)
    for arm, fpr, ceiling in (("clean", 0.0, 0.7), ("fp10", 0.1, 0.69), ("fp40", 0.4, 0.45)):
        for seed in range(3):
            curve = 0.2 + (ceiling - 0.2) * (1.0 - np.exp(-step / 40.0)) + rng.normal(0, 0.005, 11)
            history = pd.DataFrame(
                {"_step": 2 * np.arange(11), "train/global_step": step, "eval/accuracy": curve}
            )
            history.to_csv(folder / f"{arm}-fpr{fpr}-seed{seed}.csv", index=False)
    read = ("--runs-from", "{arm}-fpr{fpr}-seed{seed}", "--set", "fnr=0")
    out, figure = tmp_path / "runs.csv", tmp_path / "gap.png"
    imported = document("import", folder, *read, "--out", out)
    assert (imported["rows"], imported["runs"]) == (99, 9)
    report = document("gap", out, "--x", "step", "--figure", figure)
    verdicts = {arm["arm"]: arm["verdict"] for arm in report["arms"]}
    assert verdicts["fp40"] == "persists"
    assert figure.stat().st_size > 10_000
    # The folder itself says the same as the table made of it.
    again = document("gap", folder, *read, "--x", "step")
    assert {arm["arm"]: arm["verdict"] for arm in again["arms"]} == verdicts
    # And one file of all nine is no run.
    parts = [pd.read_csv(path) for path in sorted(folder.iterdir())]
    pd.concat(parts).to_csv(tmp_path / "all.csv", index=False)
    assert "several runs?" in refused("import", tmp_path / "all.csv", "--out", tmp_path / "x.csv")


@pytest.mark.train
@pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra")
def test_a_study_edited_stopped_resumed_listed_collected_and_fitted(tmp_path: Path) -> None:
    """Trained for real, by a model hardly warm: what counts is the way from the file to the fit."""
    path, out = tmp_path / "studies" / "study.yaml", tmp_path / "out"
    path.parent.mkdir()
    fields = tiny_study().model_dump(mode="json", exclude_unset=True)
    fields |= {"arms": {"clean": {}, "fp": {"fpr": 0.2}}}
    path.write_text(yaml.safe_dump(fields))
    edits = ("evaluation.steps=[0,2,4,6,8]", "evaluation.greedy=false", "seeds=0-0")
    study = ("train", path, "--out", out, *(word for edit in edits for word in ("--set", edit)))
    stopped = verigap(*study, "--max-minutes", 0)
    assert stopped.code == 3
    assert "2 of 2 runs are left; to go on: verigap train" in stopped.err
    assert document(*study, "--list")["device_hours_left"] > 0.0
    finished = document(*study)
    assert (finished["done"], finished["interrupted"]) == (2, 0)
    listed = document(*study, "--list")
    assert [run["state"] for run in listed["states"]] == ["complete"] * 2
    assert listed["device_hours_left"] == 0.0
    table = pd.read_parquet(out / "runs.parquet")
    assert table.groupby("arm")["step"].apply(list).to_dict() == {
        "clean": [0, 2, 4, 6, 8],
        "fp": [0, 2, 4, 6, 8],
    }
    assert table["settings"].nunique() == 1
    assert set(table["learning_rate"]) == {1e-3}
    fits = document("fit", out, "--law", "exponential")
    assert [curve["group"] for curve in fits["curves"]] == ["clean", "fp"]
    # Another learning rate is another folder.
    line = refused(*study, "--set", "training.learning_rate=1e-4", "--list")
    assert "training.learning_rate = 0.001, which is 0.0001 now" in line
