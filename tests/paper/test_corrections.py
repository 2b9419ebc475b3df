"""What buys errors back: paces and differences recovered from curves that have them; probes in mid-run and slopes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from empirical.errors import StudyError
from empirical.probe import Probe, read_probe
from empirical.step_law.logged import CAMPAIGN
from fits.hypotheses import estimate
from paper.corrections import BASE, Versus, corrections
from paper.in_training import Equal, equal_steps, in_training
from paper.pages import corrections as corrections_page
from paper.pages import in_training as in_training_page

STEPS = (0, 10, 20, 40, 60, 80, 100, 150, 200, 300)
RESULTS = Path(CAMPAIGN).parent


def curve(rate: float, seed: int, end: float = 0.8) -> list[float]:
    top, known = end + 0.01 * seed, np.array(STEPS, dtype=float)
    clean = top - (top - 0.3) * np.exp(-known / 90)
    return np.interp(rate * known, known, clean).tolist()


def rows(arm: str, size: int, prompts: int, rate: float, *, end: float = 0.8) -> pd.DataFrame:
    """Three seeds whose curves are clean's at `rate` t, a little apart."""
    return pd.concat(
        pd.DataFrame(
            {
                "run_id": f"{arm}-g{size}-p{prompts}-s{seed}",
                "arm": arm,
                "group_size": size,
                "prompts_per_step": prompts,
                "seed": seed,
                "step": STEPS,
                "accuracy": curve(rate + 0.001 * (seed - 1) * (arm != "clean"), seed, end),
            }
        )
        for seed in range(3)
    )


CLEAN = rows("clean", 8, 8, 1.0)


@pytest.fixture(scope="module")
def probe() -> Probe:
    return read_probe(RESULTS / "corrections" / "probe.json")


def test_ways_to_spend_a_step_are_told_apart_at_equal_cost(probe: Probe) -> None:
    own = pd.concat(
        [
            rows("majority3", 8, 8, 0.7),
            rows(BASE, 24, 8, 0.8),
            rows(BASE, 16, 4, 0.5),
            rows("drop", 8, 8, 0.4),
        ]
    )
    found = corrections(
        own,
        pd.concat([CLEAN, rows(BASE, 8, 8, 0.5), rows(BASE, 32, 8, 0.9)]),
        probe,
        learnt=None,
        uncorrected=CLEAN,
        learnt_probe=None,
        planned=20,
    )
    paces = {(one.arm, one.group_size, one.prompts): one for one in found.bought}
    assert paces["majority3", 8, 8].pace.value == pytest.approx(0.7, abs=0.005)
    assert paces["majority3", 8, 8].verdicts * paces["majority3", 8, 8].rollouts == 192
    assert (BASE, 32, 8) in paces
    verdicts = {(one.one.name, one.other.name): one.verdict for one in found.versus}
    assert verdicts == {
        ("drop, 8 × 8", f"{BASE}, 8 × 8"): "slower",
        (f"{BASE}, 4 × 16", f"{BASE}, 8 × 8"): "as fast",
        ("majority3, 8 × 8", f"{BASE}, 8 × 24"): "slower",
    }
    assert (found.runs, found.missing) == (12, 8)
    # The probe speaks of batches of 8 prompts alone, at 24 rollouts in units of clean at 8.
    assert paces[BASE, 16, 4].probe is None
    at24 = next(one for one in probe.by_group_size if one.group_size == 24)
    (told,) = (one for one in at24.arms if one.arm == BASE)
    assert paces[BASE, 24, 8].probe == pytest.approx(told.relative_speed * at24.clean_speed)
    # What was said before is held against the study's own runs: the campaign's were there.
    assert {key for key, one in paces.items() if one.campaign} == {(BASE, 8, 8), (BASE, 32, 8)}
    scored = found.foretold("law")
    own = [paces[key] for key in (("majority3", 8, 8), (BASE, 24, 8), (BASE, 16, 4))]
    missed = [(one.law or 0.0) - one.pace.value for one in own]
    assert paces["drop", 8, 8].law is None  # it does not speak of dropped groups
    assert (scored.of, scored.fast) == (3, sum(value > 0.0 for value in missed))
    assert scored.outside == 3  # seeds lie within .001 of their pace
    assert scored.rmse == pytest.approx(float(np.sqrt(np.mean(np.square(missed)))))
    assert found.foretold("probe").of == 3
    page = corrections_page.document(found, command="c", figure="f.png")
    assert "8 more to come" in page
    assert f"the law misses 3 paces by RMSE **{scored.rmse:.3f}**" in page
    assert "An error that the policy learns" not in page


def test_a_learnt_error_is_undone_by_what_stands_above_it(probe: Probe) -> None:
    found = corrections(
        rows("drop", 8, 8, 0.4),
        pd.concat([CLEAN, rows(BASE, 8, 8, 0.5)]),
        probe,
        learnt=pd.concat([rows("audited", 8, 8, 1.0), rows("unfinished-low", 32, 8, 1.0, end=0.6)]),
        uncorrected=pd.concat([CLEAN, rows("unfinished-low", 8, 8, 1.0, end=0.6)]),
        learnt_probe=None,
        planned=9,
    )
    harm = {(one.arm, one.group_size): one for one in found.mended}
    assert harm["unfinished-low", 8].harm.value > 0.15
    assert harm["unfinished-low", 8].undone is None
    undone = harm["unfinished-low", 32].undone
    assert undone is not None
    assert undone.value == pytest.approx(0.0, abs=1e-3)
    audited = harm["audited", 8]
    assert audited.undone is not None
    assert audited.harm.value == pytest.approx(0.0, abs=1e-3)
    assert audited.undone.value == pytest.approx(harm["unfinished-low", 8].harm.value, abs=2e-3)
    assert "audited | 8 |" in corrections_page.document(found, command="c", figure="f.png")


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.10, 0.11, 0.12], "faster"),
        ([-0.10, -0.11, -0.12], "slower"),
        ([0.01, -0.01, 0.0], "as fast"),
        ([0.1, -0.1, 0.05], "undetermined"),
        ([0.10, 0.11], "not judged"),
        ([0.1], "not judged"),
    ],
)
def test_a_difference_is_judged_by_its_interval(values: list[float], verdict: str) -> None:
    found = estimate("x", np.array(values))
    assert Versus("rollouts", None, None, found, found).verdict == verdict  # pyright: ignore[reportArgumentType]


def test_without_clean_there_is_no_pace(probe: Probe) -> None:
    with pytest.raises(StudyError, match="clean run of 8"):
        corrections(
            rows("drop", 8, 8, 0.4),
            rows(BASE, 8, 8, 0.5),
            probe,
            learnt=None,
            uncorrected=CLEAN,
            learnt_probe=None,
            planned=3,
        )


def told(right_rate: float) -> Probe:
    """The campaign's probe, saying another growth of every arm."""
    whole = read_probe(CAMPAIGN / "probe.json")
    ends = (right_rate - 1e-4, right_rate + 1e-4)
    sizes = tuple(
        replace(
            one,
            arms=tuple(replace(arm, right_rate=right_rate, right_rate_ci=ends) for arm in one.arms),
        )
        for one in whole.by_group_size
    )
    return replace(whole, by_group_size=sizes)


def test_growth_is_the_slope_of_the_next_steps() -> None:
    campaign = pd.concat([CLEAN, rows(BASE, 8, 8, 0.5)])
    table = campaign[campaign["arm"] == BASE].pivot_table(
        index="seed", columns="step", values="accuracy"
    )
    slope = float(((table[200] - table[150]) / 50).mean())
    start = float(((table[20] - table[0]) / 20).mean())
    found = in_training(
        {(BASE, 8, 150): told(slope), (BASE, 8, 0): told(2 * start), ("absent", 8, 0): told(1.0)},
        campaign,
        Equal(5, 6, 1, 2),
        pd.DataFrame(
            {
                "arm": BASE,
                "group_size": 8,
                "step": range(1, 151),
                "gradient_signal": [0.1, 0.3] * 75,
            }
            | {"gradient_noise": 0.5}
        ),
    )
    # The log's ratio is of sums over the window; a step without a probe is not asked.
    assert [(one.step, one.window) for one in found.noise] == [(0, (1, 20)), (150, (131, 150))]
    assert [one.logged.value for one in found.noise] == pytest.approx([0.4, 0.4])
    error = (
        0.1 / 0.5 / 19**0.5
    )  # of the mean of 20 that lie .1 from it, over a noise that does not vary
    assert found.noise[0].logged.error == pytest.approx(error)
    assert [row.step for row in found.rows] == [0, 150]
    assert found.rows[1].measured.value == pytest.approx(slope)
    assert found.rows[1].z == pytest.approx(0.0, abs=1e-6)
    around = found.rows[1].around
    assert around is not None
    assert around.value == pytest.approx(float(((table[200] - table[100]) / 100).mean()))
    assert found.rows[0].around is None
    assert found.ratio_around == pytest.approx({150: slope / around.value})
    assert found.within == 1
    assert found.ratio == pytest.approx({0: 2.0, 150: 1.0})
    page = in_training_page.document(found, command="c", figure="f.png")
    assert "5 of 6 steps" in page
    assert "2.00 at step 0" in page
    with pytest.raises(StudyError, match="no probe"):
        in_training({("absent", 8, 0): told(1.0)}, campaign, None)


def test_a_step_that_differs_is_counted() -> None:
    log = pd.DataFrame(
        {"arm": "a", "group_size": 8, "seed": [0, 0, 1], "step": [1, 2, 1]}
        | {"wrong": 3, "right": 5, "paid_wrong": 1, "unpaid_right": 2}
    )
    other = log.assign(paid_wrong=[1, 1, 0])
    assert equal_steps(log, other) == Equal(2, 3, 1, 2)
