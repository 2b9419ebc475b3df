"""Extreme legal curves and tables: flat, certain, all at one end, from 1e-300 to 1 - 1e-16; finite, and no warning."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

import fits
from fits import (
    advice,
    answers,
    arms,
    asymmetry,
    baselines,
    batch,
    betting,
    collapse,
    curves,
    exchange,
    fit,
    floors,
    frontier,
    gap,
    hypotheses,
    inference,
    joint,
    laws,
    losses,
    pace,
    plain,
    report,
    rollouts,
    selection,
    settle,
    solve,
    table,
)
from fits.errors import InputError
from tests.extremes import RATES, Cases, check, uncovered

STEPS: Final = np.array([0.0, 1.0, 2.0, 5.0, 10.0, 100.0, 1e4, 1e6])
GRIDS: Final = {
    "steps": STEPS,
    "huge": STEPS * 1e250,
    "tiny": STEPS * 1e-300,
    "even": np.arange(1.0, 9.0),
}
CURVES: Final = {
    "nothing": np.zeros(8),
    "all": np.ones(8),
    "next to nothing": np.full(8, 1e-300),
    "next to all": np.full(8, 1.0 - 1e-16),
    "all at once": np.array([0.0, 0, 0, 0, 1, 1, 1, 1]),
    "hardly rises": 0.5 + 1e-16 * np.arange(8),
    "rises": np.linspace(1e-300, 1.0 - 1e-16, 8),
    "collapses": np.array([0.1, 0.9, 1, 1, 0, 0, 0, 0.0]),
}


def each_curve(
    call: Callable[[np.ndarray, np.ndarray, np.ndarray | None], object],
    samples: tuple[float | None, ...] = (None, 1.0, 1e9),
) -> Cases:
    """The call, of every grid, curve and number of samples behind its points."""
    for (grid, x), (curve, y), n in itertools.product(GRIDS.items(), CURVES.items(), samples):
        n_N = None if n is None else np.full(8, n)
        yield f"{grid}, {curve}, {n}", lambda x=x, y=y, n=n_N: call(x, y, n)


def frame(clean: np.ndarray, noisy: np.ndarray, x: np.ndarray, n_eval: int | None) -> pd.DataFrame:
    """Two arms of two seeds."""
    rows: list[dict[str, Any]] = []
    for (arm, fpr, y), seed in itertools.product(
        (("clean", 0.0, clean), ("noisy", 1e-300, noisy)), (0, 1)
    ):
        for at, accuracy in zip(x, y, strict=True):
            row = {
                "run_id": f"{arm}{seed}",
                "arm": arm,
                "fpr": fpr,
                "fnr": 0.0,
                "seed": seed,
                "group_size": 8,
            }
            row |= {
                "step": float(at),
                "rollouts": float(at),
                "accuracy": float(accuracy),
                "prompts_per_step": 1,
            }
            rows.append(row if n_eval is None else row | {"n_eval": n_eval})
    return pd.DataFrame(rows)


PAIRS: Final = (
    ("rises", "nothing"),
    ("rises", "rises"),
    ("all", "nothing"),
    ("all at once", "hardly rises"),
)


@functools.cache
def tables() -> dict[str, pd.DataFrame]:
    """Tables of two arms."""
    return {
        f"{one}, {other}, {n}": frame(CURVES[one], CURVES[other], np.arange(8.0) * 64.0, n)
        for (one, other), n in itertools.product(PAIRS, (None, 1))
    }


def each_table(call: Callable[[pd.DataFrame], object]) -> Cases:
    """The call, of every table."""
    for name, rows in tables().items():
        yield name, lambda rows=rows: call(rows)


@functools.cache
def report_of(name: str) -> gap.GapReport:
    """What is said of a table."""
    return gap.gap_report(tables()[name], clean=selection.parse_selection(["arm=clean"]))


def each_report(call: Callable[[gap.GapReport], object]) -> Cases:
    """The call, of the report of every table."""
    for name in tables():
        yield name, lambda name=name: call(report_of(name))


@functools.cache
def pair_of(name: str) -> tuple[arms.Arm, arms.Arm]:
    """The arms of a table, fitted."""
    held = [(str(arm), some, True) for arm, some in tables()[name].groupby("arm")]
    one, other = arms.fit_arms(held, "rollouts", laws.CURVE_LAWS, "least-squares")
    return one, other


def each_pair(call: Callable[[arms.Arm, arms.Arm], object]) -> Cases:
    """The call, of the arms of every table."""
    for name in tables():
        yield name, lambda name=name: call(*pair_of(name))


def _laws(call: Callable[[laws.Law, np.ndarray, np.ndarray], object]) -> Cases:
    for law, (grid, x), (curve, y) in itertools.product(
        laws.CURVE_LAWS, GRIDS.items(), CURVES.items()
    ):
        if x.min() > 0.0 or not law.needs_positive_x:
            yield f"{law.name}, {grid}, {curve}", lambda law=law, x=x, y=y: call(law, x, y)


def _data(x: np.ndarray, y: np.ndarray) -> inference.Data:
    return inference.Data(x[np.newaxis], y, np.arange(8) % 2, ("a", "b"), np.full(8, 10.0))


@functools.cache
def optima() -> dict[str, tuple[laws.Law, inference.Data, inference.Optimum]]:
    """Where fits of each law to each curve end."""
    made: dict[str, tuple[laws.Law, inference.Data, inference.Optimum]] = {}
    for law, curve in itertools.product(
        laws.CURVE_LAWS, ("nothing", "all at once", "rises", "next to all")
    ):
        data = _data(GRIDS["even"], CURVES[curve])
        made[f"{law.name}, {curve}"] = law, data, inference.optimum(law, data)
    return made


def each_optimum(call: Callable[[laws.Law, inference.Data, inference.Optimum], object]) -> Cases:
    """The call, of every optimum."""
    for name, found in optima().items():
        yield name, lambda found=found: call(*found)


def _finals(call: Callable[[pd.DataFrame], object]) -> Cases:
    for low, high in itertools.combinations(RATES, 2):
        rates = [low, high, 0.5 * (low + high)]
        rows = [
            {
                "run_id": f"{p}-{q}-{g}",
                "fpr": p,
                "fnr": q,
                "group_size": g,
                "accuracy": a,
                "step": 1,
                "rollouts": g,
            }
            for (p, q, g), a in zip(
                itertools.product(rates, rates, (2, 10**6)), itertools.cycle(RATES), strict=False
            )
        ]
        yield f"{low:g}, {high:g}", lambda rows=rows: call(pd.DataFrame(rows))


def _values(call: Callable[[np.ndarray], object]) -> Cases:
    for values in (
        [0.0],
        [1e-300],
        [1.0, -1.0],
        [0.5, 0.5],
        [1.0 - 1e-16, 1.0],
        [1e-300, 1.0, 0.0],
    ):
        yield f"{values}", lambda v=values: call(np.array(v))


def _estimates(call: Callable[[hypotheses.Estimate, hypotheses.Hypothesis], object]) -> Cases:
    kinds = (
        hypotheses.Hypothesis("above"),
        hypotheses.Hypothesis("below", 1e-300),
        hypotheses.Hypothesis("within", 1e300),
    )
    for values, claim in itertools.product(
        ([0.0, 0.0], [1e-300, 2e-300], [1.0, 1.0 - 1e-16], [-1.0, 1.0]), kinds
    ):
        found = hypotheses.estimate("a", np.array(values))
        yield f"{values}, {claim}", lambda f=found, c=claim: call(f, c)


def _judged(found: hypotheses.Estimate, claim: hypotheses.Hypothesis) -> hypotheses.Finding:
    return hypotheses.judge([hypotheses.Part(claim, found, (found,))])


def _bets() -> Cases:
    """Bets on rates at their ends, and on evidence of any size."""
    for right, paid in itertools.product((0.0, 1e-300, 1.0), (1e-300, 1.0)):

        def won(right: float = right, paid: float = paid) -> list[object]:
            bets = betting.Bets(np.array([0.0, 1e-300, 0.5, 1.0 - 1e-16, 1.0]), margin=1e-300)
            for _ in range(40):
                bets.observe(np.array([right * paid]), np.array([paid]))
            return [bets.above(), betting.risen(bets.rising()), bets.reached(1e-300)]

        yield f"{right:g} of {paid:g}", won
    yield "any", lambda: betting.risen(np.array([-1e300, 0.0, 1e300]))


def _logged() -> Cases:
    for right, paid in itertools.product((0, 1, 10**6), repeat=2):
        rows = pd.DataFrame(
            [
                {
                    "run_id": f"a{seed}", "seed": seed, "step": step, "group_size": 2, "prompts_per_step": 1,
                    "zero_advantage_fraction": float(step % 2), "gradient_signal": 1e-300 * right,
                    "gradient_noise": 1e300 * paid, "observed_reward": 0.5, "accuracy": 0.5,
                }
                for seed in (0, 1) for step in range(4)
            ]
        )  # fmt: skip
        yield f"{right}, {paid}", lambda rows=rows: rollouts.measured_rollouts(rows, rows)


def _surfaces(law: str) -> Cases:
    return _finals(lambda rows: joint.fit_surface(rows, law=law))


def _inputs(call: Callable[[laws.Law, np.ndarray], object]) -> Cases:
    for law in (joint.margin_logit(), joint.quadratic()):
        for low, high in itertools.combinations(RATES, 2):
            grid = np.array(list(itertools.product((low, high), (low, high), (2.0, 1e6)))).T
            yield f"{law.name}, {low:g}, {high:g}", lambda law=law, grid=grid: call(law, grid)


def each_interval(call: Callable[[tuple[float, float] | None], object]) -> Cases:
    """The call, of intervals."""
    for ci in (None, (0.0, 0.0), (-1e300, 1e300), (1e-300, 2e-300), (1.0 - 1e-16, 1.0)):
        yield f"{ci}", lambda ci=ci: call(ci)


def _profiles(law: laws.Law, data: inference.Data, at: inference.Optimum) -> object:
    return inference.profile(law, data, at, asked=law.names)


def _t_intervals(law: laws.Law, data: inference.Data, at: inference.Optimum) -> object:
    return inference.t_intervals(law, at.theta_P, inference.influence(at, data), {}, ())


def _solved(law: laws.Law, x: np.ndarray, y: np.ndarray) -> solve.Solution:
    inputs = x[np.newaxis]
    return solve.solve(law, inputs, y[np.newaxis], law.starts(inputs, y)[:2])


def _floor(one: arms.Arm, other: arms.Arm) -> object:
    end = arms.common_end(one, other, paired=True)
    measured, _, _ = arms.difference_at(one, other, end, paired=True)
    return floors.floor_under_laws(one, other, measured, at=end, delta=1e-300, paired=True)


def _settled(one: arms.Arm, other: arms.Arm) -> object:
    end = arms.common_end(one, other, paired=True)
    measured, _, _ = arms.difference_at(one, other, end, paired=True)
    options = {"undetermined": True, "asymptote": False, "unlearned": False}
    return [
        settle.settle(measured, delta, one, other, at=end, **options)
        for delta in (1e-300, 0.01, 1.0)
    ]


def _pace(one: arms.Arm, other: arms.Arm) -> object:
    fitted = one.fit
    if not {"start", "asymptote"} <= set(fitted.params):
        return None
    return pace.pace_explains(
        fitted, one.evaluations.x_T[1:], np.zeros(len(one.evaluations.x_T) - 1), 1e-9, 1, 0.0
    )


def _multipliers(found: gap.GapReport) -> Iterator[exchange.Multiplier]:
    yield from found.exchange_rate.arms
    yield from found.exchange_rate.halfway.arms


GENERATOR: Final = np.random.default_rng(0)
CLEAN: Final = selection.parse_selection(["arm=clean"])
CASES: Final[dict[str, Callable[[], Cases]]] = {
    "advice.compounding": lambda: each_report(advice.compounding),
    "advice.dearer": lambda: each_report(lambda r: advice.dearer(r.exchange_rate.fpr, r.exchange_rate.fnr)),
    "advice.interval_in_words": lambda: each_interval(advice.interval_in_words),
    "advice.multiplier_in_words": lambda: each_report(
        lambda r: [advice.multiplier_in_words(one) for one in _multipliers(r)]
    ),
    "advice.per_ten_points": lambda: each_report(
        lambda r: [advice.per_ten_points(one) for one in (r.exchange_rate.fpr, r.exchange_rate.fnr)]
    ),
    "advice.still_behind": lambda: each_report(
        lambda r: [advice.still_behind(one, r.delta) for one in r.arms]
    ),
    "answers.three_answers": lambda: each_report(answers.three_answers),
    "arms.common_end": lambda: each_pair(lambda a, b: [arms.common_end(a, b, paired=p) for p in (True, False)]),
    "arms.difference": lambda: (
        (f"{a}, {b}", lambda a=a, b=b: [arms.difference({"0": a, "1": b}, {"0": b, "1": b}, paired=p) for p in (True, False)])
        for a, b in itertools.product(RATES, RATES)
    ),
    "arms.difference_at": lambda: each_pair(
        lambda a, b: [arms.difference_at(a, b, at, paired=p) for at in (0.0, 448.0) for p in (True, False)]
    ),
    "arms.fit_arms": lambda: each_pair(lambda a, b: [a.fit, b.fit]),
    "arms.floor_between": lambda: each_pair(lambda a, b: _between(a.fit, b.fit)),
    "arms.inside": lambda: each_interval(arms.inside),
    "arms.level_at": lambda: each_pair(lambda a, b: [arms.level_at(one, at) for one in (a, b) for at in (0.0, 448.0)]),
    "arms.matched": lambda: each_pair(lambda a, b: [arms.matched(a, b, paired=p) for p in (True, False)]),
    "arms.usable": lambda: each_pair(lambda a, b: [arms.usable(a.fit), arms.usable(b.fit)]),
    "asymmetry.asymmetry_of": lambda: each_pair(lambda a, b: asymmetry.asymmetry_of([a, b], paired=True)),
    "baselines.forecast_baselines": lambda: each_table(
        lambda rows: baselines.forecast_baselines(rows, rows, warmup_steps=0.0)
    ),
    "baselines.learning_rate_clock": lambda: (
        (f"{warm:g}", lambda w=warm: baselines.learning_rate_clock(STEPS, w)) for warm in (0.0, 1e-300, 1e300)
    ),
    "batch.bootstrap_curve": lambda: _laws(
        lambda law, x, y: batch.bootstrap_curve(
            law, x, y, run=np.arange(8) % 2, theta_P=_solved(law, x, y).theta_RP[0], rng=GENERATOR, replicates=4
        )
    ),
    "batch.fit_batch": lambda: _laws(lambda law, x, y: batch.fit_batch(law, x, np.stack([y, y])[np.newaxis])),
    "collapse.fall_statistic": lambda: each_curve(lambda x, y, n: collapse.fall_statistic(np.stack([y, y]))),
    "collapse.find_turn": lambda: each_curve(lambda x, y, n: collapse.find_turn(x, y, n_eval=n)),
    "collapse.may_have_turned": lambda: each_curve(
        lambda x, y, n: collapse.may_have_turned(np.stack([y, y]), None if n is None else int(n[0]))
    ),
    "curves.mean_curves": lambda: each_table(
        lambda rows: curves.mean_curves(rows, "rollouts", group="arm")
    ),
    "exchange.exchange_rate_of": lambda: each_pair(lambda a, b: exchange.exchange_rate_of([exchange.price(a, b, 0)])),
    "exchange.price": lambda: each_pair(lambda a, b: exchange.price(a, b, 0).final.multiplier),
    "fit.allow_for_laws": lambda: each_pair(lambda a, b: fit.allow_for_laws(a.own, a.tried)),
    "fit.check_loss": lambda: each_table(
        lambda rows: [fit.check_loss(rows, name) for name in ("auto", "least-squares", "huber")]
    ),
    "fit.curve_of": lambda: each_table(lambda rows: fit.curve_of(rows, "rollouts")[:2]),
    "fit.fit_curve": lambda: _laws(lambda law, x, y: fit.fit_curve(x, y, law=law)),
    "fit.fit_groups": lambda: each_table(lambda rows: fit.fit_groups(rows, group="arm", law="power")),
    "fit.fit_laws": lambda: each_curve(
        lambda x, y, n: fit.fit_laws(
            x, y, run=np.zeros(8, int), n_eval=n, laws=laws.CURVE_LAWS[:1], loss="auto"
        )[0],
        samples=(None, 9.0),
    ),
    "fit.group_rows": lambda: each_table(lambda rows: [name for name, _ in fit.group_rows(rows, "arm")]),
    "fit.least_aic": lambda: each_pair(lambda a, b: fit.least_aic(a.tried)),
    "fit.loss_for": lambda: each_curve(
        lambda x, y, n: fit.loss_for("auto", x, y, n, law=laws.CURVE_LAWS[0]).name, samples=(1.0, 1e9)
    ),
    "fit.turn_in_words": lambda: each_curve(lambda x, y, n: _turn_in_words(x, y)),
    "floors.floor_under_laws": lambda: each_pair(_floor),
    "frontier.frontier_of": lambda: each_table(
        lambda rows: frontier.frontier_of(
            rows[rows["arm"] == "clean"], rows[rows["arm"] != "clean"], "rollouts", source="t"
        )
    ),
    "betting.risen": _bets,
    "gap.arm_gap": lambda: each_pair(lambda a, b: gap.arm_gap(a, b, {}, delta=1e-300, paired=True)),
    "gap.chance_in_words": lambda: ((f"{p}", lambda p=p: gap.chance_in_words(p)) for p in (None, *RATES)),
    "gap.gap_report": lambda: each_report(lambda r: r),
    "gap.verdict_of": lambda: each_interval(lambda ci: [gap.verdict_of(ci, d) for d in (1e-300, 1.0)]),
    "gap.with_interval": lambda: each_interval(lambda ci: [gap.with_interval(v, ci) for v in (None, 1e-300, 1e300)]),
    "hypotheses.after_holm": lambda: _estimates(lambda e, c: hypotheses.after_holm([_judged(e, c)] * 3)),
    "hypotheses.contradiction": lambda: _estimates(hypotheses.contradiction),
    "hypotheses.estimate": lambda: _values(lambda v: hypotheses.estimate("a", v)),
    "hypotheses.holm": lambda: (("", lambda: hypotheses.holm([None, *RATES])),),
    "hypotheses.is_small": lambda: _estimates(lambda e, c: hypotheses.is_small(_judged(e, c), 1e-300)),
    "hypotheses.jackknife": lambda: _values(lambda v: hypotheses.jackknife("a", float(v[0]), v, "prompts")),
    "hypotheses.jackknife_error": lambda: _values(hypotheses.jackknife_error),
    "hypotheses.judge": lambda: _estimates(_judged),
    "hypotheses.rests_on": lambda: _estimates(lambda e, c: hypotheses.rests_on(_judged(e, c))),
    "hypotheses.support": lambda: _estimates(hypotheses.support),
    "inference.aic": lambda: each_optimum(lambda law, data, at: inference.aic(at, losses.LEAST_SQUARES)),
    "inference.aicc": lambda: each_optimum(lambda law, data, at: inference.aicc(at, losses.LEAST_SQUARES)),
    "inference.choose_loss": lambda: each_optimum(lambda law, data, at: inference.choose_loss("auto", law, data).name),
    "inference.evaluation_variance": lambda: each_curve(
        lambda x, y, n: None if n is None else inference.evaluation_variance(y, n), samples=(1.0, 1e9)
    ),
    "inference.influence": lambda: each_optimum(lambda law, data, at: inference.influence(at, data)),
    "inference.least_gap_variance": lambda: each_curve(
        lambda x, y, n: None if n is None else inference.least_gap_variance(y, n), samples=(1.0, 1e9)
    ),
    "inference.least_variance": lambda: each_optimum(
        lambda law, data, at: inference.least_variance(at, data, np.full(8, 1e-300))
    ),
    "inference.optimum": lambda: each_optimum(lambda law, data, at: at.theta_P),
    "inference.profile": lambda: each_optimum(_profiles),
    "inference.spread_of": lambda: each_interval(
        lambda ci: None if ci is None else [inference.spread_of(ci, n) for n in (2, 10**6)]
    ),
    "inference.student_interval": lambda: _values(inference.student_interval),
    "inference.t_intervals": lambda: each_optimum(_t_intervals),
    "inference.weak_directions": lambda: each_optimum(
        lambda law, data, at: inference.weak_directions(law, at.jacobian_PN)
    ),
    "inference.wilson": lambda: (
        (f"{k} of {n}", lambda k=k, n=n: inference.wilson(k, n)) for k, n in ((0, 1), (1, 1), (0, 10**9), (10**9, 10**9))
    ),
    "inference.with_width": lambda: each_interval(inference.with_width),
    "joint.aliased_terms": lambda: _inputs(joint.aliased_terms),
    "joint.aliases": lambda: _inputs(joint.aliases),
    "joint.design_of": lambda: _inputs(joint.design_of),
    "joint.final_rows": lambda: _finals(joint.final_rows),
    "joint.fit_surface": lambda: itertools.chain(_surfaces("margin-logit"), _surfaces("quadratic")),
    "losses.beta_binomial": lambda: each_rate_of_loss(losses.beta_binomial, (1e-300, 1e-16, 0.5, 1.0 - 1e-16)),
    "losses.huber": lambda: each_rate_of_loss(losses.huber, (1e-300, 1.0, 1e3)),
    "pace.pace_explains": lambda: each_pair(_pace),
    "plain.plain": lambda: (("", lambda: plain.plain([float("nan"), float("inf"), 1e-300, np.float64(1e300), 2**70])),),
    "plain.json_text": lambda: (("", lambda: plain.json_text({"a": [float("nan"), -float("inf")]})),),
    "report.fit_report": lambda: each_table(lambda rows: report.fit_report(rows, group="arm", law="power")),
    "rollouts.clean_alike": lambda: each_table(
        lambda rows: rollouts.clean_alike(rows, rows[rows["arm"] == "clean"], ["group_size"])
    ),
    "rollouts.measured_rollouts": _logged,
    "selection.select": lambda: each_table(lambda rows: selection.select(rows, CLEAN)),
    "settle.seeds_needed": lambda: (
        (f"{s:g}, {m:g}", lambda s=s, m=m: settle.seeds_needed(s, m))
        for s, m in itertools.product((0.0, 1e-300, 1.0, 1e300), (0.0, 1e-300, 1.0, 1e300))
    ),
    "settle.settle": lambda: each_pair(_settled),
    "solve.best_of": lambda: _laws(lambda law, x, y: solve.best_of(_solved(law, x, y))),
    "solve.solve": lambda: _laws(lambda law, x, y: _solved(law, x, y).theta_RP),
    "table.check_numbers": lambda: each_table(lambda rows: table.check_numbers(rows, "accuracy")),
    "table.derive_columns": lambda: each_table(lambda rows: table.derive_columns(rows)[0]),
    "table.validate_runs": lambda: each_table(lambda rows: table.validate_runs(rows)[0][["accuracy", "step"]]),
}  # fmt: skip
EXEMPT: Final = {
    "advice.listed": "joins words",
    "answers.no_answers": "takes text",
    "drawing": "draws; what it is given is checked before",
    "each.in_turn": "calls what it is given",
    "plain.counted": "joins words",
    "figures": "draws",
    "files": "reads and writes; tests/faults",
    "fit.named_columns": "takes names",
    "fit.refuse_same_axis": "takes names",
    "gap.setting_in_words": "takes names",
    "gap.verdict_in_words": "takes names",
    "joint.linear_law": "makes a law of given columns",
    "joint.margin_logit": "takes names; its law is fitted in joint.fit_surface",
    "joint.quadratic": "takes names; its law is fitted in joint.fit_surface",
    "laws.curve_law": "takes a name",
    "losses.loss_named": "takes a name",
    "plain.visible": "takes text",
    "readers": "read files; tests/faults",
    "selection.parse_assignments": "takes text",
    "selection.parse_selection": "takes text",
    "selection.values_there": "gives text",
    "table.alike": "gives text",
    "table.fill_columns": "takes text",
    "table.map_columns": "takes names",
    "table.need_columns": "takes names",
    "table.write_runs": "writes; tests/faults",
}


# What may be infinite, by what it means: no amount of compute makes up for it.
INFINITE: Final = {
    "exchange.exchange_rate_of": frozenset({".ci[0]"}),
    "exchange.price": frozenset({".ci[0]"}),
    "gap.gap_report": frozenset({".ci[0]"}),
}
# What is NaN for being unknown: the spread of one replicate, the parameters of a law that the design refuses.
ABSENT: Final = {
    "arms.difference_at": frozenset({".spread"}),
    "arms.floor_between": frozenset({".spread"}),
    "floors.floor_under_laws": frozenset({".spread"}),
    "joint.fit_surface": frozenset({".theta_P"}),
}


def _between(one: fit.CurveFit, other: fit.CurveFit) -> object:
    both = "asymptote" in one.params and "asymptote" in other.params
    return arms.floor_between(one, other) if both else None


def _turn_in_words(x: np.ndarray, y: np.ndarray) -> object:
    turn = collapse.find_turn(x, y)
    return None if turn is None else fit.turn_in_words(turn, 2)


def each_rate_of_loss(make: Callable[[float], losses.Loss], of: tuple[float, ...]) -> Cases:
    """Value, slope and curvature of a loss where data and law lie at their ends."""
    ends = np.array([1e-300, 1e-16, 0.5, 1.0 - 1e-16])
    y, mu = (grid.ravel() for grid in np.meshgrid([0.0, *ends, 1.0], ends))
    for given in of:
        loss = make(given)
        for name in ("value", "slope", "curvature"):
            yield (
                f"{given:g}, {name}",
                lambda one=loss, n=name: getattr(one, n)(y, mu, np.full(y.size, 10.0)),
            )


def test_every_public_function_has_its_extreme_values_or_a_reason() -> None:
    assert not uncovered(fits, CASES, EXEMPT)


@pytest.mark.parametrize("name", CASES)
def test_what_it_gives_is_finite_or_it_is_refused(name: str) -> None:
    check(
        CASES[name](),
        refused=InputError,
        infinite=INFINITE.get(name, frozenset()),
        absent=ABSENT.get(name, frozenset()),
    )
