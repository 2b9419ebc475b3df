"""Joint laws: recovery, and designs that cannot carry them, refused with the aliased terms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from fits import InputError, fit_surface, read_runs
from fits.joint import aliased_terms, margin_logit, quadratic
from tests.shared_data import shared_data

RATES = (0.0, 0.2, 0.4)


def grid(
    accuracy: object, *, groups: Sequence[int] = (8, 32), seeds: int = 1, noise: float = 0.0
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "run_id": f"{x}-{d}-{g}-{s}",
            "fpr": x,
            "fnr": d,
            "group_size": g,
            "seed": s,
            "step": 10,
            "n_eval": 500,
            "accuracy": accuracy(x, d, g) + noise * rng.normal(),  # pyright: ignore[reportCallIssue]
        }
        for x in RATES
        for d in RATES
        for g in groups
        for s in range(seeds)
    ]
    return pd.DataFrame(rows)


def test_the_quadratic_surface_is_recovered_exactly() -> None:
    truth = [0.7, -0.1, -0.2, -0.3, -0.5, -0.4, 0.02]
    frame = grid(lambda x, d, g: float(np.dot(truth, [1, x, d, x * x, x * d, d * d, np.log2(g)])))
    fit = fit_surface(frame, law="quadratic")
    np.testing.assert_allclose(fit.theta_P, truth, atol=1e-8)
    assert fit.loco_rmse == pytest.approx(0.0, abs=1e-8)
    assert fit.identified


def test_the_margin_logit_is_recovered_and_its_interval_covers() -> None:
    def a(x: float, d: float, g: int) -> float:
        margin = x + d
        z = 0.5 + 0.2 * np.log2(g) - 1.5 * margin - 0.1 * margin * np.log2(g)
        return float(1 / (1 + np.exp(-z)))

    exact = fit_surface(grid(a), law="margin-logit")
    assert exact.params == pytest.approx(
        {"a0": 0.5, "a1": 0.2, "beta": 1.5, "beta1": 0.1}, abs=1e-5
    )
    noisy = fit_surface(grid(a, seeds=5, noise=0.01), law="margin-logit")
    interval = noisy.ci["beta"]
    assert interval is not None
    assert interval[0] < 1.5 < interval[1]
    assert noisy.ci_reason == "t over 5 seeds"


@pytest.mark.parametrize(
    ("keep", "law", "aliased"),
    [
        (
            lambda f: f["fpr"] == f["fnr"],
            "quadratic",
            ("fnr = fpr", "fpr*fnr = fpr^2", "fnr^2 = fpr^2"),
        ),
        (lambda f: f["fpr"] * f["fnr"] == 0, "quadratic", ("fpr*fnr = 0",)),
        (lambda f: f["fpr"] == 0, "quadratic", ("fpr = 0", "fpr^2 = 0", "fpr*fnr = 0")),
        (
            lambda f: f["fpr"] + f["fnr"] == 0.4,
            "margin-logit",
            ("-(1-J) = -0.4", "-(1-J) log2(group_size)"),
        ),
    ],
)
def test_rank_deficient_designs_are_refused_by_term(
    keep, law: str, aliased: tuple[str, ...]
) -> None:
    frame = grid(lambda x, d, g: 0.5 - 0.1 * x)
    fit = fit_surface(frame[keep(frame)], law=law)
    assert not fit.identified
    assert fit.status == "unidentified"
    assert fit.params == {}
    for equation in aliased:
        assert equation in fit.reason


def test_a_general_combination_is_spelled_out() -> None:
    x = np.array([0.0, 0.1, 0.2, 0.3])
    inputs = np.stack([x, 0.5 - 2 * x, np.full(4, 8.0)])
    assert "fnr = 0.5 - 2 fpr" in aliased_terms(quadratic(compute=False), inputs)
    assert aliased_terms(margin_logit(compute=False), inputs) == ()


def test_constant_compute_drops_its_terms_and_says_so() -> None:
    fit = fit_surface(grid(lambda x, d, g: 0.6 - 0.1 * x - 0.2 * d, groups=(8,)), law="quadratic")
    assert "c_compute" not in fit.params
    assert fit.notes[0] == "no compute term: group_size is 8 in every row"


def test_only_the_last_evaluation_of_a_run_counts() -> None:
    frame = grid(lambda x, d, g: 0.6 - 0.1 * x - 0.2 * d * d)
    early = frame.assign(step=0, accuracy=0.1)
    both = pd.concat([early, frame])
    np.testing.assert_allclose(
        fit_surface(both, law="quadratic").theta_P, fit_surface(frame, law="quadratic").theta_P
    )


def test_missing_rates_and_unknown_laws_are_refused() -> None:
    frame = grid(lambda x, d, g: 0.5)
    with pytest.raises(InputError, match="needs the column fnr"):
        fit_surface(frame.drop(columns="fnr"), law="quadratic")
    with pytest.raises(InputError, match="law 'cubic' is none of: margin-logit, quadratic"):
        fit_surface(frame, law="cubic")


def test_the_seed_grid_carries_the_surface_and_its_diagonal_does_not() -> None:
    frame = read_runs(shared_data("seed_grid/batch32_r8_metrics.csv")).frame
    large = fit_surface(frame[frame["model"] == "1.5B"], law="quadratic")
    assert large.identified
    assert large.n == 36
    assert large.rmse is not None
    assert large.rmse < 0.07
    small = fit_surface(frame[frame["model"] == "0.5B"], law="quadratic")
    assert small.aliased == ("fnr = fpr", "fpr*fnr = fpr^2", "fnr^2 = fpr^2")
