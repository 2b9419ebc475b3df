"""Days of use from the terminal alone: nine histories to a verdict; a study edited, stopped, gone on with, fitted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tests.builders import minimal
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


def test_a_study_edited_stopped_listed_finished_and_fitted(tmp_path: Path) -> None:
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(
        yaml.safe_dump(minimal(arms={"clean": {}, "fp": {"fpr": 0.2}}, group_sizes=[4]))
    )
    steps = "evaluation.steps=[0,2,4,6,8,10]"
    study = ("train", path, "--out", out, "--set", "seeds=0-1", "--set", steps)
    stopped = verigap(*study, "--max-minutes", 0)
    assert stopped.code == 3
    assert "4 of 4 runs are left; to go on: verigap train" in stopped.err
    # What the runs would write, once they have gone on to their end.
    for place, folder in enumerate(sorted(path.parent for path in out.glob("*/spec.json"))):
        spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        known = {name: value for name, value in spec.items() if name not in ("study", "spec")}
        ceiling = 0.6 if spec["fpr"] == 0.0 else 0.5
        lines = [
            {
                "kind": "eval",
                **known,
                "step": step,
                "rollouts": step * 32,
                "tokens": step * 500,
                "flops": 0.0,
                "gpu_hours": 0.0,
                "seconds": 1.0,
                "accuracy": round(ceiling * (1 - 0.7**step) + 0.001 * place, 4),
                "n_eval": 100,
            }
            for step in range(0, 11, 2)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
        (folder / "DONE").touch()
    listed = document(*study, "--list")
    assert [run["state"] for run in listed["states"]] == ["complete"] * 4
    assert listed["device_hours_left"] == 0.0
    finished = document(*study)
    assert (finished["done"], finished["interrupted"]) == (4, 0)
    fits = document("fit", out, "--law", "exponential")
    assert [curve["group"] for curve in fits["curves"]] == ["clean", "fp"]
    table = pd.read_parquet(out / "runs.parquet")
    assert table["settings"].nunique() == 1
    assert set(table["learning_rate"]) == {1e-5}
    # Another learning rate is another folder.
    line = refused(*study, "--set", "training.learning_rate=1e-4", "--list")
    assert "training.learning_rate = 1e-05, which is 0.0001 now" in line
