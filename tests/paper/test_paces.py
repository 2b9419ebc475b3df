"""Paces: recovered from curves that have one, held against what was said, moved between sizes or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from empirical.errors import StudyError
from empirical.probe import Probe, read_probe
from empirical.step_law.logged import CAMPAIGN
from empirical.studies import read_study
from paper.__main__ import GENERATED, WRITERS
from paper.numbers import Floor
from paper.paces import Paces, held, moved, paces
from paper.pages.paces import pretrained, sizes

STEPS = [0, 10, 20, 40, 60, 80, 100, 150, 200, 300]
STUDY = Path(__file__).parents[2] / "empirical/studies/trained/smollm2-arithmetic.yaml"


@pytest.fixture(scope="module")
def probe() -> Probe:
    return read_probe(CAMPAIGN / "probe.json")


def runs(rates: dict[str, float], *, seeds: int = 3, scatter: float = 0.0) -> pd.DataFrame:
    """Runs at 8 rollouts that are the clean curve at the rate given for them; a seed's rates differ by `scatter`."""
    known = np.array(STEPS, dtype=float)
    rows = []
    for seed in range(seeds):
        top = 0.8 + 0.01 * seed
        clean = top - (top - 0.3) * np.exp(-known / 90)
        for arm, rate in {"clean": 1.0, **rates}.items():
            own = rate + scatter * (seed - (seeds - 1) / 2) * (arm != "clean")
            accuracy = np.interp(own * known, known, clean)
            rows += [
                {"run_id": f"{arm}-{seed}", "model": "m", "group_size": 8, "arm": arm, "seed": seed}
                | {"step": step, "accuracy": value, "n_eval": 512}
                for step, value in zip(STEPS, accuracy, strict=True)
            ]
    return pd.DataFrame(rows)


def test_a_pace_that_the_curves_have_is_found(probe: Probe) -> None:
    found = paces(probe, runs({"fpr0.4": 0.8, "fnr0.4": 0.95, "coin": 0.0, "inverted": 0.5}))
    assert {arm.arm: arm.pace.value for arm in found.arms} == pytest.approx(
        {"fpr0.4": 0.8, "fnr0.4": 0.95, "coin": 0.0}, abs=0.003
    )
    assert found.seeds == 3
    assert found.clean_end > found.start == pytest.approx(0.3)


def test_runs_that_obey_the_probe_are_forecast_by_it_and_others_are_not(probe: Probe) -> None:
    said = {arm.arm: arm.relative_speed or 0.0 for arm in probe.at(8).arms}
    asked = {arm: said[arm] for arm in ("fpr0.4", "fnr0.4", "both0.4")}
    obeying = paces(probe, runs(asked))
    assert obeying.rmse["probe"] < 1e-3 < 0.03 < obeying.rmse["no slowing"] < obeying.rmse["J"]
    assert obeying.rmse_of_pace["probe"] < 1e-3 < 0.03 < obeying.rmse_of_pace["J"]
    assert all(point.missed.value == pytest.approx(0.0, abs=1e-3) for point in obeying.points)
    slower = paces(probe, runs({arm: 0.6 * rate for arm, rate in asked.items()}, scatter=0.01))
    assert slower.rmse["probe"] > 0.03
    assert all(arm.z is not None and arm.z > 5.0 for arm in slower.arms)


def test_a_single_seed_has_a_pace_and_no_interval(probe: Probe) -> None:
    found = paces(probe, runs({"fpr0.4": 0.8}, seeds=1))
    assert (found.arms[0].pace.ci, found.arms[0].z) == (None, None)


def test_what_cannot_be_compared_is_refused(probe: Probe) -> None:
    table = runs({"fpr0.4": 0.8})
    with pytest.raises(StudyError, match="one model and group size"):
        paces(probe, pd.concat([table, table.assign(group_size=4)]))
    with pytest.raises(StudyError, match="no complete run of the arm clean"):
        paces(probe, table[table["arm"] != "clean"])
    with pytest.raises(StudyError, match="no noisy arm"):
        paces(probe, table[table["arm"] == "clean"])


def test_a_committed_forecast_is_held_to_its_intervals(probe: Probe) -> None:
    table = runs({"fpr0.4": 0.8})
    last = table[table["step"] == 300].groupby("arm")["accuracy"].mean()
    rows = [
        {"arm": arm, "step": 300, "accuracy": last[arm] + miss, "low90": last[arm] - 0.05}
        | {"high90": last[arm] + 0.001, "gap": 0.0, "gap_low90": -0.01, "gap_high90": 0.0}
        for arm, miss in (("clean", 0.0), ("fpr0.4", 0.02))
    ]
    found = held({"made": "2026-11-29", "forecasts": rows}, table, read_study(STUDY), probe)
    assert (found.inside, found.rows) == (4, 6)  # the third seed ends .01 higher
    assert found.rmse == pytest.approx(0.02 / 2**0.5)
    assert (found.gap_inside, found.gap_rows) == (0, 1)
    assert found.gap_rmse == pytest.approx(last["clean"] - last["fpr0.4"])
    page = pretrained(paces(probe, table), found, command="c", figure="f.png", hours=1.0)
    assert "4 of 6 measured ones lie inside" in page
    assert "9 of the planned runs are not made" in page


@pytest.mark.parametrize("name", WRITERS)
def test_committed_pages_are_what_the_data_give(name: str, tmp_path: Path) -> None:
    page = WRITERS[name](CAMPAIGN.parent, tmp_path)
    (made,) = tmp_path.glob("*.md")
    assert (GENERATED / made.name).read_text(encoding="utf-8") == page, "make paper"


def test_a_pace_moves_with_size_or_does_not(probe: Probe) -> None:
    def size(model: str, rate: float, scatter: float) -> Paces:
        table = runs({"fpr0.4": rate, "both0.4": 0.6}, scatter=scatter)
        return replace(paces(probe, table), model=model)

    base = size("base", 0.8, 0.002)
    found = moved(base, [size("small", 0.6, 0.002), size("noisy", 0.75, 0.1)])
    verdicts = {(one.model, one.arm): one.verdict for one in found}
    assert verdicts["small", "fpr0.4"] == "moved"
    assert verdicts["small", "both0.4"] == "unmoved"
    assert verdicts["noisy", "fpr0.4"] == "undetermined"
    said = [
        Floor(arm, 8, "closes", 0.0, None, "end", 3, lost, (lost - 0.01, lost + 0.01), None, None)
        for arm, lost in (("fpr0.4", 0.02), ("both0.4", 0.1))
    ]
    page = sizes([base], found, {"base": said}, command="c", figure="f.png")
    assert "| small | fpr0.4 | -0.200 |" in page
    assert "| +0.020 [+0.010, +0.030] | closes |" in page
    # The probe says .87 of fpr .4 and .49 of both: at .8 and .6 the former is not too slow, the latter is.
    assert "The probe says both0.4 too slow at every size" in page
    assert "fpr0.4 too slow" not in page
