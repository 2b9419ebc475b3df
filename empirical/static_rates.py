"""The error rates of a study's verifiers on its initial policy: what a label audit before training would find.

Law. Each completion of the initial policy either shows the feature that an arm's errors are tied to or does not,
and errs with the rate declared for that; the mean over wrong (right) completions is the arm's static fpr (fnr).
No verdict is drawn, so the only error is that of the completions: one to a problem, hence independent.
Fails first as soon as the policy moves: a step's realised rates are in the training log.

    python -m empirical.static_rates STUDY.yaml [SAMPLES]

prints them. The completions lie in the study's results folder; they are sampled once, from its first model.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from empirical import extras
from empirical.errors import StudyError
from empirical.noise import Arm, Shown, TriggeredNoise, selected
from empirical.studies import Study, read_study
from empirical.verifiers import Verdict, verifier_named
from fits.inference import Interval, wilson
from theory.channel import BoolArray, FloatArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INITIAL", "SAMPLES", "StaticRates", "static_rates"]

INITIAL: Final = "initial.parquet"
SAMPLES: Final = 16_384  # of which 10,700 wrong ones: a share of .11 to within .006


@dataclass(frozen=True)
class StaticRates:
    """One arm's rates, in [0, 1].

    shown_wrong, shown_right: shares of the wrong and of the right completions that show the arm's feature; 0 where
    its errors are tied to none. Intervals: 95 %, of the completions' sampling.
    """

    arm: str
    fpr: float
    fpr_ci: Interval
    fnr: float
    fnr_ci: Interval
    shown_wrong: float
    shown_right: float

    @property
    def youden(self) -> float:
        """1 - fpr - fnr."""
        return 1.0 - self.fpr - self.fnr


def static_rates(study: Study, completions: pd.DataFrame) -> tuple[StaticRates, ...]:
    """The rates of every arm of `study` on `completions`, rows with prompt, gold, completion.

    Raises StudyError if none of them is right, or none wrong.
    """
    base = verifier_named(study.verifier)
    reference = verifier_named(study.reference_verifier or study.verifier)
    rows = list(
        zip(completions["completion"], completions["gold"], completions["prompt"], strict=True)
    )
    judged = [base(text, gold) for text, gold, _ in rows]
    paid = np.array([one.verdict is Verdict.RIGHT for one in judged])
    right = paid
    if reference is not base:
        right = np.array([reference(text, gold).verdict is Verdict.RIGHT for text, gold, _ in rows])
    if right.all() or not right.any():
        raise StudyError("the initial policy's completions are all right or all wrong: no rates")
    shown = [
        Shown(text, one.answer, gold, prompt)
        for (text, gold, prompt), one in zip(rows, judged, strict=True)
    ]
    found: list[StaticRates] = []
    for name, arm in study.arms.items():
        featured = np.zeros(len(rows), dtype=np.bool_)
        noise = arm.noise
        if isinstance(noise, TriggeredNoise) and noise.selector is not None:
            featured = selected(noise.selector, shown)
        reward = np.where(paid, 1.0 - _rates(arm, "fnr", featured), _rates(arm, "fpr", featured))
        found.append(
            StaticRates(
                name,
                float(reward[~right].mean()),
                _interval(reward[~right]),
                float(1.0 - reward[right].mean()),
                _interval(1.0 - reward[right]),
                float(featured[~right].mean()),
                float(featured[right].mean()),
            )
        )
    return tuple(found)


def _rates(arm: Arm, kind: str, selected: BoolArray) -> FloatArray:
    if not isinstance(arm.noise, TriggeredNoise):
        return np.full(len(selected), getattr(arm, kind))
    return np.where(selected, getattr(arm.noise.selected, kind), getattr(arm.noise.otherwise, kind))


def _interval(rates: FloatArray) -> Interval:
    """Of the mean of `rates`, which takes two values at most: that of the share of the higher one."""
    low, high = float(rates.min()), float(rates.max())
    if low == high:
        return (low, high)
    bounds = wilson(int((rates > (low + high) / 2).sum()), len(rates))
    return (low + (high - low) * bounds[0], low + (high - low) * bounds[1])


def main(arguments: Sequence[str]) -> int:
    """Print every arm's static rates: STUDY.yaml [SAMPLES]."""
    study_file = Path(arguments[0])
    study = read_study(study_file)
    if study.results is None:
        raise StudyError(f"{study_file}: names no results folder")
    import pandas as pd

    folder = study_file.parent / study.results
    if not (folder / INITIAL).exists():
        extras.require(*extras.TRAIN)
        from empirical.training.initial import sample_initial

        samples = int(arguments[1]) if len(arguments) > 1 else SAMPLES
        sample_initial(study, study_file, folder / INITIAL, samples=samples)
    for one in static_rates(study, pd.read_parquet(folder / INITIAL)):
        sys.stdout.write(
            f"{one.arm:16} fpr {one.fpr:.4f} [{one.fpr_ci[0]:.4f}, {one.fpr_ci[1]:.4f}]"
            f"  fnr {one.fnr:.4f} [{one.fnr_ci[0]:.4f}, {one.fnr_ci[1]:.4f}]"
            f"  shown by {one.shown_wrong:.4f} of wrong, {one.shown_right:.4f} of right\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
