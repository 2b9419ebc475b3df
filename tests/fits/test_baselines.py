"""Baselines: each recovers data of its own law, and counts only where it is estimable."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from fits import InputError, read_runs
from fits.baselines import (
    WARMUP_FROM,
    BaselineForecast,
    forecast_baselines,
    learning_rate_clock,
)
from fits.joint import aliases, design_of, margin_logit, quadratic
from tests.shared_data import shared_data

FloatArray = NDArray[np.float64]
RATES = (0.0, 0.1, 0.2, 0.3, 0.4)


def cells(accuracy: Callable[..., float], *, groups: tuple[int, ...] = (8,)) -> pd.DataFrame:
    """Final accuracies, one row per (fpr, fnr, group size)."""
    return pd.DataFrame(
        [
            {
                "run_id": f"{x}-{d}-{g}",
                "fpr": x,
                "fnr": d,
                "group_size": g,
                "accuracy": accuracy(x, d, g),
            }
            for x, d, g in product(RATES, RATES, groups)
        ]
    )


def curves(
    accuracy: Callable[[FloatArray, float], FloatArray], rates: list[tuple[float, float]]
) -> pd.DataFrame:
    """Curves over steps 0, 5, ... 200 at 8 rollouts; accuracy(steps, J)."""
    steps = np.arange(0.0, 201.0, 5.0)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "run_id": f"{x}-{d}",
                    "fpr": x,
                    "fnr": d,
                    "group_size": 8,
                    "step": steps.astype(int),
                    "accuracy": accuracy(steps, 1.0 - x - d),
                }
            )
            for x, d in rates
        ],
        ignore_index=True,
    )


def split(frame: pd.DataFrame, known: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    return frame[known], frame[~known]


def by_name(
    known: pd.DataFrame, asked: pd.DataFrame, *, warmup_steps: float = 0.0
) -> dict[str, BaselineForecast]:
    return {one.name: one for one in forecast_baselines(known, asked, warmup_steps=warmup_steps)}


def error(one: BaselineForecast, asked: pd.DataFrame) -> float:
    assert one.status == "identified", one.reason
    assert one.accuracy_N is not None
    return float(np.sqrt(np.mean((one.accuracy_N - asked["accuracy"].to_numpy()) ** 2)))


ON_AXES = "margin-linear", "sqrt-margin", "margin-logit", "additive"


@pytest.mark.parametrize("name", ON_AXES)
def test_each_law_recovers_its_own_cells_from_the_axes(name: str) -> None:
    laws: dict[str, Callable[..., float]] = {
        "margin-linear": lambda x, d, g: 0.2 + 0.5 * (1 - x - d),
        "sqrt-margin": lambda x, d, g: 0.2 + 0.5 * np.sqrt(1 - x - d),
        "margin-logit": lambda x, d, g: 1 / (1 + np.exp(-(0.9 - 1.5 * (x + d)))),
        "additive": lambda x, d, g: 0.7 - 0.1 * x - 0.2 * d - 0.4 * x**2 - 0.3 * d**2,
    }
    frame = cells(laws[name])
    known, asked = split(frame, (frame["fpr"] == 0) | (frame["fnr"] == 0))
    assert len(asked) == 16
    found = by_name(known, asked)
    assert error(found[name], asked) < 1e-6
    for other in ON_AXES:
        # Only the additive surface contains another of them: the linear one.
        if other != name and (name, other) != ("margin-linear", "additive"):
            assert error(found[other], asked) > 1e-3


def test_the_cross_term_needs_a_cell_off_the_axes() -> None:
    frame = cells(lambda x, d, g: 0.7 - 0.1 * x - 0.2 * d - 0.9 * x * d)
    on_axes = (frame["fpr"] == 0) | (frame["fnr"] == 0)
    refused = by_name(*split(frame, on_axes))["quadratic"]
    assert refused.status == "unidentified"
    assert refused.aliased == ("fpr*fnr = 0",)
    assert "16 of the 16 rows" in refused.reason
    assert refused.accuracy_N is None
    known, asked = split(frame, on_axes | ((frame["fpr"] == 0.4) & (frame["fnr"] == 0.4)))
    found = by_name(known, asked)["quadratic"]
    assert error(found, asked) < 1e-8
    assert found.params["c_fpr_fnr"] == pytest.approx(-0.9, abs=1e-6)


def test_one_budget_is_harmless_at_that_budget_and_unidentified_at_another() -> None:
    frame = cells(lambda x, d, g: 1 / (1 + np.exp(-(0.5 - 2.0 * (x + d)))), groups=(8, 32))
    known = (frame["group_size"] == 8) & (frame["fpr"] <= 0.2)
    same, other = ~known & (frame["group_size"] == 8), frame["group_size"] == 32
    at_8 = by_name(frame[known], frame[same])["margin-logit"]
    assert error(at_8, frame[same]) < 1e-6
    assert set(at_8.params) == {"a0", "beta"}
    refused = by_name(frame[known], frame[other])["margin-logit"]
    assert refused.status == "unidentified"
    assert refused.aliased == (
        "log2(group_size) = 3",
        "-(1-J) log2(group_size) = 3 -(1-J)",
    )
    both = by_name(frame[known | (other & (frame["fpr"] == 0.0))], frame[same])
    assert error(both["margin-logit"], frame[same]) < 1e-6


def test_clean_rows_alone_identify_nothing_about_noise() -> None:
    frame = cells(lambda x, d, g: 0.7 - 0.3 * (x + d))
    found = by_name(*split(frame, (frame["fpr"] == 0) & (frame["fnr"] == 0)))
    assert found["margin-linear"].aliased == ("J = 1",)
    assert found["sqrt-margin"].aliased == ("sqrt(J) = 1",)
    assert "fpr = 0" in found["additive"].aliased
    assert found["no-gap"].status == "identified"


@pytest.mark.parametrize("law", [margin_logit(), quadratic()], ids=lambda law: law.name)
def test_alias_equations_are_the_row_space(law) -> None:
    """A row is forecast alike by all coefficients that fit exactly when it lies in the row space."""
    rng = np.random.default_rng(3)
    agreed = {True: 0, False: 0}
    for _ in range(200):
        few = rng.integers(1, 9)
        known = np.stack(
            [
                rng.choice([0.0, 0.2, 0.4], few),
                rng.choice([0.0, 0.3], few),
                rng.choice([8.0, 8.0, 32.0], few),
            ]
        )
        asked = np.array([[rng.choice([0.0, 0.2, 0.4])], [rng.choice([0.0, 0.3])], [8.0]])
        said = all(bool(a.holds(design_of(law, asked))[0]) for a in aliases(law, known))
        rows, row = design_of(law, known).T, design_of(law, asked).T
        rank = np.linalg.matrix_rank
        inside = rank(np.vstack([rows, row]), tol=1e-9) == rank(rows, tol=1e-9)
        assert said == inside
        agreed[said] += 1
    assert min(agreed.values()) > 20


def saturating(steps: FloatArray) -> FloatArray:
    return 0.1 + 0.6 * (1.0 - np.exp(-steps / 40.0))


def test_time_scaled_by_j_recovers_a_slower_clock() -> None:
    frame = curves(lambda t, j: saturating(j * t), [(0.0, 0.0), (0.3, 0.0), (0.2, 0.3)])
    known, asked = split(frame, frame["fpr"] + frame["fnr"] == 0)
    found = by_name(known, asked)
    # Left: the clean curve is linear between evaluations five steps apart.
    assert error(found["time-scaled-by-J"], asked) < 1.5e-3
    assert error(found["no-gap"], asked) > 0.05


def test_the_warm_up_is_in_the_clock() -> None:
    steps = np.arange(0.0, 301.0)
    # The integral of the learning rate, by the trapezium rule on its own definition.
    rate = np.minimum(WARMUP_FROM + (1 - WARMUP_FROM) * steps / 80.0, 1.0)
    integral = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2.0)])
    np.testing.assert_allclose(learning_rate_clock(steps, 80.0), integral, atol=1e-9)
    np.testing.assert_array_equal(learning_rate_clock(steps, 0.0), steps)

    frame = curves(
        lambda t, j: saturating(j * learning_rate_clock(t, 80.0)), [(0.0, 0.0), (0.3, 0.0)]
    )
    known, asked = split(frame, frame["fpr"] == 0)
    found = by_name(known, asked, warmup_steps=80.0)
    assert error(found["time-scaled-by-J-warmup"], asked) < 1.5e-3
    assert error(found["time-scaled-by-J"], asked) > 0.01


def test_without_a_margin_nothing_moves_and_beyond_the_end_nothing_changes() -> None:
    frame = curves(lambda t, j: saturating(t), [(0.0, 0.0), (0.5, 0.5), (0.7, 0.6)])
    known, asked = split(frame, (frame["fpr"] == 0) & (frame["step"] <= 100))
    found = by_name(known, asked)
    start, end = saturating(np.array([0.0, 100.0]))
    slowed = found["time-scaled-by-J"].accuracy_N
    assert slowed is not None
    np.testing.assert_allclose(slowed[asked["fpr"] > 0], start)
    np.testing.assert_allclose(slowed[asked["fpr"] == 0], end)


def test_no_gap_takes_the_least_noise_and_the_nearest_group_size() -> None:
    frame = cells(lambda x, d, g: 0.1 * np.log2(g) - 0.1 * (x + d), groups=(4, 16, 64))
    known = (frame["group_size"] != 4) & (frame["fnr"] == 0)
    found = by_name(frame[known], frame[~known])["no-gap"]
    assert found.accuracy_N is not None
    sizes = frame[~known]["group_size"].to_numpy()
    np.testing.assert_allclose(found.accuracy_N, np.where(sizes == 64, 0.6, 0.4))


def test_final_accuracies_have_no_clock_to_slow() -> None:
    frame = cells(lambda x, d, g: 0.7 - 0.3 * x).assign(step=233)
    found = by_name(*split(frame, frame["fnr"] == 0))
    for name in ("time-scaled-by-J", "time-scaled-by-J-warmup"):
        assert found[name].status == "unidentified"
        assert found[name].aliased == ("step = 233",)


def test_joint_laws_are_fitted_at_every_step_and_interpolated_between() -> None:
    frame = curves(lambda t, j: saturating(t) * j, [(0.0, 0.0), (0.4, 0.0), (0.2, 0.1)])
    known, asked = split(frame, (frame["fnr"] == 0) & (frame["step"] % 10 == 0))
    asked = asked[asked["fnr"] > 0]
    found = by_name(known, asked)["margin-linear"]
    on_grid = (asked["step"] % 10 == 0).to_numpy()
    assert found.accuracy_N is not None
    off = np.abs(found.accuracy_N - asked["accuracy"].to_numpy())
    assert off[on_grid].max() < 1e-8
    # Half a chord of ten steps from a curve whose second derivative is at most .6/40^2.
    assert off[~on_grid].max() < 0.6 / 40**2 * 10**2 / 8 + 1e-9


def test_one_calibrated_step_says_nothing_of_another() -> None:
    frame = curves(lambda t, j: saturating(t) * j, [(0.0, 0.0), (0.4, 0.0)])
    found = by_name(*split(frame, frame["step"] == 200))
    for name in ("no-gap", "time-scaled-by-J", "margin-linear", "quadratic"):
        assert found[name].status == "unidentified"
        assert found[name].aliased == ("step = 200",)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda f: f.drop(columns="fnr"), "fnr"),
        (lambda f: f.drop(columns="group_size"), "group_size"),
        (lambda f: f.assign(fpr=f["fpr"].where(f["fpr"] != 0.2)), "column fpr: empty"),
    ],
)
def test_rows_that_cannot_be_read_are_refused(
    spoil: Callable[[pd.DataFrame], pd.DataFrame], named: str
) -> None:
    frame = cells(lambda x, d, g: 0.5)
    known, asked = split(frame, frame["fnr"] == 0)
    with pytest.raises(InputError, match=named):
        forecast_baselines(known, spoil(asked), warmup_steps=0.0)
    with pytest.raises(InputError, match="warmup_steps"):
        forecast_baselines(known, asked, warmup_steps=-1.0)


def test_the_reference_values_on_real_curves() -> None:
    """The published baselines on `math_trajectories`, calibrated on the clean arm."""
    table = read_runs(
        shared_data("math_trajectories/mL4.csv"),
        columns={"accuracy": "accuracy_mean_of_5_seeds", "run_id": "arm"},
    )
    known, asked = split(table.frame, table.frame["arm"] == "clean")
    found = by_name(known, asked, warmup_steps=50.0)
    assert error(found["no-gap"], asked) == pytest.approx(0.065, abs=5e-4)
    assert error(found["time-scaled-by-J"], asked) == pytest.approx(0.050, abs=5e-4)
    assert error(found["time-scaled-by-J-warmup"], asked) == pytest.approx(0.041, abs=6e-4)
