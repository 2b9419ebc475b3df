from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from empirical.power import power, read_pilot
from empirical.studies import Study, read_study
from fits.errors import InputError
from fits.gap import verdict_of
from fits.inference import student_interval
from tests.commands.command import refused, verigap

STUDIES = Path(__file__).parents[2] / "empirical" / "studies" / "trained"
POWERED = STUDIES / "qwen2.5-gsm8k-powered.yaml"


def study(**changed: Any) -> Study:
    return read_study(POWERED).model_copy(update=changed)


def simulated(
    rng: np.random.Generator, gap: float, scatter: float, seeds: int, samples: int, clean: float
) -> list[float]:
    """The seeds' measured gaps of one study: runs scatter about their arm, evaluations about the run."""
    found: list[float] = []
    for _ in range(seeds):
        first, second = np.clip(rng.normal([clean, clean - gap], scatter), 0.0, 1.0)
        found.append(
            rng.binomial(samples, first) / samples - rng.binomial(samples, second) / samples
        )
    return found


@pytest.mark.parametrize(
    ("gap", "scatter"), [(0.03, 0.01), (0.05, 0.02), (0.0, 0.002), (0.08, 0.03)]
)
def test_the_claimed_chance_is_the_share_settled(gap: float, scatter: float) -> None:
    """Over 500 simulated studies judged as `gap` judges them, within .05."""
    rng = np.random.default_rng(0)
    wanted = study()
    settled = [
        verdict_of(student_interval(np.array(simulated(rng, gap, scatter, 5, 2638, 0.6)))[1], 0.01)
        != "undetermined"
        for _ in range(500)
    ]
    found = power(wanted, scatter=scatter, gaps={"fpr0.2": gap}, accuracy=0.6)
    cell = next(c for c in found.arms if c.arm == "fpr0.2" and c.group_size == 8)
    assert cell.power == pytest.approx(np.mean(settled), abs=0.05)


def test_the_claimed_chance_holds_on_average_over_pilots() -> None:
    """Truths from a spread, a pilot of each, the study after it: claimed and settled agree on average."""
    rng = np.random.default_rng(1)
    claimed, settled = [], []
    arms = {name: study().arms[name] for name in ("clean", "fpr0.2")}
    small = study(arms=arms, group_sizes=[8])
    for _ in range(120):
        gap, scatter = float(rng.uniform(0, 0.08)), 0.015
        rows = [
            {"run_id": f"{arm}{seed}", "arm": arm, "fpr": fpr, "fnr": 0.0, "seed": seed, "step": 100,
             "accuracy": rng.binomial(2638, np.clip(rng.normal(0.6 - lost, scatter), 0, 1)) / 2638,
             "n_eval": 2638}
            for arm, fpr, lost in (("clean", 0.0, 0.0), ("fpr0.2", 0.2, gap))
            for seed in range(8)
        ]  # fmt: skip
        found = power(small, pilot=read_pilot(pd.DataFrame(rows)), accuracy=0.6)
        (cell,) = found.arms
        claimed.append(cell.power)
        ends = student_interval(np.array(simulated(rng, gap, scatter, 5, 2638, 0.6)))[1]
        settled.append(verdict_of(ends, 0.01) != "undetermined")
    assert np.mean(claimed) == pytest.approx(np.mean(settled), abs=0.05 + 2 * 0.5 / np.sqrt(120))


def test_more_seeds_and_larger_gaps_are_settled_more_often() -> None:
    few = power(study(seeds=[0, 1, 2]), scatter=0.01, gaps={"fpr0.2": 0.03})
    many = power(study(seeds=list(range(10))), scatter=0.01, gaps={"fpr0.2": 0.03})
    wide = power(study(seeds=list(range(10))), scatter=0.01, gaps={"fpr0.2": 0.06})
    chances = [found.arms[0].power or 0.0 for found in (few, many, wide)]
    assert chances[0] < chances[1] < chances[2]
    needed = many.arms[0].seeds_needed
    assert needed is not None
    again = power(study(seeds=list(range(needed))), scatter=0.01, gaps={"fpr0.2": 0.03})
    assert (again.arms[0].power or 0.0) >= 0.8


def test_one_seed_and_a_gap_at_delta_are_never_settled() -> None:
    single = power(study(seeds=[0]))
    assert single.arms[0].power is None
    assert "one seed" in single.arms[0].reason
    at = power(study(), scatter=0.01, gaps=dict.fromkeys(study().arms, 0.01))
    assert all((cell.power or 0.0) < 0.08 for cell in at.arms)
    assert at.seeds_needed is None
    assert "too close" in at.reason


def test_the_command_and_the_dry_run_print_it() -> None:
    document = verigap("power", POWERED, "--json").document
    assert {"arms", "seeds_needed"} <= set(document)
    assert {"arm", "power"} <= set(document["arms"][0])
    assert len(document["arms"]) == 12
    dry = verigap("train", POWERED, "--dry-run", "--json").document
    assert dry["power"] == document
    assert "Assumed:" in verigap("power", POWERED).out


def test_mistakes_are_one_line() -> None:
    assert "no arm 'fpr9'" in refused("power", POWERED, "--true-gap", "fpr9=.1")
    assert "'much' is not a number" in refused("power", POWERED, "--true-gap", "fpr0.2=much")
    assert "scatter must lie in" in refused("power", POWERED, "--scatter", "2")
    with pytest.raises(InputError, match="two seeds"):
        read_pilot(
            pd.DataFrame(
                [("a", "clean", 0.0, 0.0, 0, 1, 0.5), ("b", "noisy", 0.2, 0.0, 0, 1, 0.4)],
                columns=["run_id", "arm", "fpr", "fnr", "seed", "step", "accuracy"],
            )
        )
