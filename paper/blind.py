"""Forecasts committed before the answer is seen: what we say, from which rows, when.

    python -m paper.blind [--shared FOLDER] [--out FOLDER]

writes paper/forecasts: a JSON file for each set, with the sha256 of every file it rests on, the command and the date,
and a page. A file that is there stays as it is: a forecast that changed after its answer is none.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from empirical.probe import read_probe
from empirical.studies import Study, read_study
from empirical.validate.calibrate import Calibration, calibrate
from empirical.validate.clock import read_clock
from fits.files import write_text
from fits.plain import json_text

ROOT: Final = Path(__file__).resolve().parents[1]
SHARED: Final = ROOT.parent / "shared" / "data"
OUT: Final = ROOT / "paper" / "forecasts"
STUDIES: Final = ROOT / "empirical" / "studies" / "trained"
RESULTS: Final = ROOT / "empirical" / "results"
COMMAND: Final = "python -m paper.blind"
OLMO: Final = (
    ("grpo_exact_seed0.csv", "grpo"),
    ("dr_grpo_exact_seed0.csv", "dr_grpo"),
    ("dr_grpo_exact_seed1.csv", "dr_grpo"),
)
PILOT: Final = "pilot.csv"
GRID_STEPS: Final = 233.0  # one epoch of the grid, arXiv 2605.25252
ASKED: Final = [
    "arm",
    "model",
    "estimator",
    "fpr",
    "fnr",
    "group_size",
    "prompts_per_step",
    "step",
    "n_eval",
]


@dataclass(frozen=True)
class Blind:
    """One committed set: what it is about, what it rests on, what is not blind about it, and the rows.

    speeds: each arm's over clean's with 95 %, where a probe of the initial weights measured them.
    """

    name: str
    about: str
    calibrated_on: str
    sources: dict[str, str]
    not_blind: tuple[str, ...]
    assumptions: tuple[str, ...]
    rows: pd.DataFrame
    speeds: tuple[Mapping[str, Any], ...] = ()

    def document(self) -> dict[str, Any]:
        """As it is written down."""
        own = {k: v for k, v in asdict(self).items() if k not in ("rows", "speeds")}
        if self.speeds:
            own["speeds"] = list(self.speeds)
        rows = self.rows.astype(object).where(self.rows.notna(), None)
        return {**own, "forecasts": rows.to_dict("records")}


def main(arguments: Sequence[str]) -> int:
    """Write every set that is not there yet, and the page of all."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    for name, make in SETS.items():
        path = options.out / f"{name}.json"
        if not path.exists():
            document = {"made": today, "command": COMMAND, **make(options.shared).document()}
            write_text(path, json_text(document) + "\n")
    read = [json.loads((options.out / f"{name}.json").read_text()) for name in SETS]
    write_text(options.out / "README.md", page(read))
    return 0


def olmo(shared: Path) -> Blind:
    """Sampled accuracy of OLMo-2-1B on GSM8K under symmetric flips, from the runs with an exact verifier."""
    folder = shared / "olmo_gsm8k"
    parts: list[pd.DataFrame] = []
    for name, estimator in OLMO:
        log = pd.read_csv(folder / name)
        parts.append(
            pd.DataFrame(
                {
                    "run_id": name.removesuffix(".csv"),
                    "estimator": estimator,
                    "step": log["step"] + 1.0,  # evaluated after the update of that step
                    "accuracy": log["val_sampled_accuracy"],
                    "n_eval": log["val_sampled_n"],
                }
            )
        )
    given = {"fpr": 0.0, "fnr": 0.0, "group_size": 8, "prompts_per_step": 32, "beta2": 0.95}
    known = pd.concat(parts, ignore_index=True).assign(**given)
    steps = np.sort(known["step"].unique())
    rows = pd.concat(
        [
            pd.DataFrame(
                {**given, "estimator": estimator, "step": steps, "fpr": rate, "fnr": rate}
            ).assign(arm=f"{estimator}-flip{rate:g}", model="OLMo-2-0425-1B", n_eval=1024)
            for estimator in ("grpo", "dr_grpo")
            for rate in (0.1, 0.3)
        ],
        ignore_index=True,
    )
    return Blind(
        name="olmo_gsm8k",
        about="sampled accuracy (n = 1,024) of OLMo-2-0425-1B on GSM8K, flips of .1 and .3 persistent per answer",
        calibrated_on="the three runs with an exact verifier",
        sources=_hashes(folder, [name for name, _ in OLMO]),
        not_blind=(
            "that an earlier model forecast the harm at .3 too small by .059 had been said before (LOG.md); the model"
            " was changed after",
        ),
        assumptions=(
            "errors are forecast as if fresh at every rollout; these are the same for the same answer",
            "steps are updates: the log's step k is k + 1 of them",
        ),
        rows=_forecast(calibrate(known), rows),
    )


def _grid(shared: Path) -> pd.DataFrame:
    table = pd.read_csv(shared / "seed_grid" / "batch32_r8_metrics.csv")
    small = table["run_name"].str.contains("0.5B")
    return pd.DataFrame(
        {
            "run_id": table["run_name"],
            "model": np.where(small, "qwen2.5-0.5b", "qwen2.5-1.5b"),
            "fpr": table["false_positive_rate"],
            "fnr": table["false_negative_rate"],
            "group_size": table["num_rollouts"],
            "prompts_per_step": 32,
            "accuracy": table["final_validation_accuracy"],
            "n_eval": 256,
            "step": GRID_STEPS,
        }
    )


def grid(shared: Path) -> Blind:
    """Final accuracies of the seed grid at other numbers of rollouts."""
    known = _grid(shared).query("model == 'qwen2.5-1.5b'").reset_index(drop=True)
    cells = known[["fpr", "fnr"]].drop_duplicates()
    rows = pd.concat([cells.assign(group_size=size) for size in (4, 16, 32, 64)], ignore_index=True)
    rows = rows.assign(
        arm=[f"x{x:g}-d{d:g}" for x, d in zip(rows["fpr"], rows["fnr"], strict=True)],
        model="qwen2.5-1.5b",
        prompts_per_step=32,
        step=GRID_STEPS,
        n_eval=256,
    )
    return Blind(
        name="seed_grid",
        about="final accuracy (n = 256) of Qwen2.5-1.5B on GSM8K at 4, 16, 32 and 64 rollouts",
        calibrated_on="the 36 cells at 8 rollouts",
        sources=_hashes(shared / "seed_grid", ["batch32_r8_metrics.csv"]),
        not_blind=(),
        assumptions=("trainer's estimator taken as grpo (it was a leave-one-out form of it)",),
        rows=_forecast(calibrate(known), rows),
    )


def qwen(name: str, shared: Path) -> Blind:
    """Every arm of one of our two studies of Qwen2.5 on GSM8K, which nobody has run."""
    known = _grid(shared)
    study = read_study(STUDIES / f"{name}.yaml")
    rows = _asked(study, GRID_STEPS).assign(prompts_per_step=32)
    parts = [
        _forecast(calibrate(known[known["model"] == model].reset_index(drop=True)), mine)
        for model, mine in rows.groupby("model", sort=False)
    ]
    return Blind(
        name=name,
        about=f"accuracy (n = {study.evaluation.samples}) of every arm of {name}.yaml",
        calibrated_on="the seed grid's cells at 8 rollouts, of the same model",
        sources={
            **_hashes(shared / "seed_grid", ["batch32_r8_metrics.csv"]),
            **_hashes(STUDIES, [f"{name}.yaml"]),
        },
        not_blind=(),
        assumptions=(
            "prompt, verifier and evaluation are the study's, not the grid's: their difference is in no interval",
            f"the grid knows one length, {GRID_STEPS:g} steps: longer runs rest on the law alone",
        ),
        rows=pd.concat(parts, ignore_index=True),
    )


def probed(name: str, _: Path) -> Blind:
    """Every arm of a study whose initial weights were probed, and whose clean arm one pilot run shows."""
    study, folder = read_study(STUDIES / f"{name}.yaml"), RESULTS / name
    probe, pilot = read_probe(folder / "probe.json"), pd.read_csv(folder / PILOT)
    rows = _asked(study, 1.0).assign(prompts_per_step=study.training.prompts_per_step)
    return Blind(
        name=name,
        about=f"accuracy (n = {study.evaluation.samples}) of every arm of {name}.yaml",
        calibrated_on="one clean pilot run and a probe of the initial weights",
        sources={
            **_hashes(STUDIES, [f"{name}.yaml"]),
            **_hashes(folder, ["probe.json", PILOT]),
        },
        not_blind=(
            "task, learning rate and length were chosen after the pilot, whose seed is in no study",
        ),
        assumptions=(
            "an arm's speed is that at the initial weights, all along: clean(R t)",
            "speeds are those of Adam with a long memory",
        ),
        rows=_forecast(calibrate(pilot, clock=read_clock(folder / "probe.json")), rows),
        speeds=tuple(
            {
                "arm": arm.arm,
                "group_size": arm.group_size,
                "relative_speed": arm.relative_speed,
                "low95": None if arm.ci is None else arm.ci[0],
                "high95": None if arm.ci is None else arm.ci[1],
                "se": arm.se,
            }
            for one in probe.by_group_size
            for arm in one.arms
        ),
    )


SETS: Final[Mapping[str, Callable[[Path], Blind]]] = {
    "olmo_gsm8k": olmo,
    "seed_grid": grid,
    "qwen2.5-gsm8k-paper": partial(qwen, "qwen2.5-gsm8k-paper"),
    "qwen2.5-gsm8k-powered": partial(qwen, "qwen2.5-gsm8k-powered"),
    "smollm2-arithmetic": partial(probed, "smollm2-arithmetic"),
}


def _asked(study: Study, first: float) -> pd.DataFrame:
    """Every arm of a study at every evaluation from step `first` on, a row each."""
    arms = pd.DataFrame(
        [
            {
                "arm": run.arm,
                "model": run.model.name,
                "fpr": run.noise.fpr,
                "fnr": run.noise.fnr,
                "group_size": run.group_size,
            }
            for run in study.runs()
        ]
    ).drop_duplicates(ignore_index=True)
    steps = pd.DataFrame({"step": [float(s) for s in study.evaluation.steps if s >= first]})
    return arms.merge(steps, how="cross").assign(n_eval=study.evaluation.samples)


def _forecast(model: Calibration, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows asked for, with forecasts and 90 % intervals, rounded to what they are worth."""
    done = model.forecast(rows.reset_index(drop=True))
    columns = [name for name in ASKED if name in rows.columns]
    numbers = {
        "accuracy": done.accuracy,
        "low90": done.low90,
        "high90": done.high90,
        "gap": done.gap,
        "gap_low90": done.gap_low90,
        "gap_high90": done.gap_high90,
    }
    return (
        rows[columns].reset_index(drop=True).assign(**{k: v.round(4) for k, v in numbers.items()})
    )


def _hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    return {
        f"{folder.name}/{name}": hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in names
    }


def page(sets: Sequence[Mapping[str, Any]]) -> str:
    """The sets' documents, in Markdown; every row of the last step of each."""
    lines = [
        "# Forecasts committed before their answers",
        "",
        f"Made by `{COMMAND}`. Files hold every row, the sha256 of what it rests on, the command and the date.",
        "Accuracies with 90 % intervals of one measured run; gap is what a clean verifier would add.",
        "",
    ]
    for one in sets:
        last = max(row["step"] for row in one["forecasts"])
        rows = [row for row in one["forecasts"] if row["step"] == last]
        lines += [f"## {one['name']}", ""]
        lines += [f"{one['about']}; calibrated on {one['calibrated_on']}. Made {one['made']}.", ""]
        lines += [f"- Not blind: {text}." for text in one["not_blind"]]
        lines += [f"- Assumed: {text}." for text in one["assumptions"]]
        if speeds := [arm for arm in one.get("speeds", ()) if arm["se"] is not None]:
            lines += ["", "Speeds over clean's, as probed, with 95 %:", ""]
            lines += ["| arm | rollouts | speed |", "|---|---|---|"]
            lines += [
                f"| {arm['arm']} | {arm['group_size']} | {arm['relative_speed']:.3f}"
                f" [{arm['low95']:.3f}, {arm['high95']:.3f}] |"
                for arm in speeds
            ]
        lines += ["", f"At step {last:g}:", ""]
        lines += ["| arm | model | rollouts | accuracy | gap |", "|---|---|---|---|---|"]
        lines += [
            f"| {row['arm']} | {row['model']} | {row.get('group_size', 8)} | {row['accuracy']:.3f}"
            f" [{row['low90']:.3f}, {row['high90']:.3f}] | {row['gap']:+.3f} [{row['gap_low90']:+.3f},"
            f" {row['gap_high90']:+.3f}] |"
            for row in rows
        ]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
