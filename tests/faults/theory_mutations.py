"""Flip one sign or exponent of each closed form of `theory`, and see that a test notices.

    python -m tests.faults.theory_mutations [BEGINNING OF A LAW]

runs the named tests against a mutated copy of the package and writes THEORY-MUTATIONS.md beside this
file; laws that do not begin so keep their row. Laws called "theorem" are the manuscript's statements, each with
the one test of its name. The suite itself only checks that every mutation still names a line that is there
(tests/theory/test_mutations.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("THEORY-MUTATIONS.md")


@dataclass(frozen=True)
class Mutation:
    """One flipped sign or exponent: what law it breaks, where, and the tests that must fail."""

    law: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    Mutation(
        "effective rollouts 1 + phi^2 (G - 1)",
        "effective_rollouts.py",
        "return 1.0 + phi2(pass_rate, channel, correlation=correlation) * (size - 1.0)",
        "return 1.0 + phi2(pass_rate, channel, correlation=correlation) * (size + 1.0)",
        "test_effective_rollouts.py",
    ),
    Mutation(
        "errors shared in a group leave the share 1 - c",
        "effective_rollouts.py",
        "np.maximum(signal + wrong + right - between, 0.0)",
        "np.maximum(signal + wrong + right + between, 0.0)",
        "test_effective_rollouts.py",
    ),
    Mutation(
        "J = 1 - fpr - fnr",
        "channel.py",
        "np.asarray(fpr, dtype=np.float64) - np.asarray(fnr",
        "np.asarray(fpr, dtype=np.float64) + np.asarray(fnr",
        "test_channel.py",
    ),
    Mutation(
        "q = fpr + J a",
        "channel.py",
        "rates * (1.0 - self.fnr) + (1.0 - rates) * self.fpr",
        "rates * (1.0 - self.fnr) - (1.0 - rates) * self.fpr",
        "test_channel.py",
    ),
    Mutation(
        "verdicts flip below the rate",
        "channel.py",
        "dtype=np.float64) < np.where(right, self.fnr, self.fpr)",
        "dtype=np.float64) > np.where(right, self.fnr, self.fpr)",
        "test_channel.py",
    ),
    Mutation(
        "group standard deviation",
        "estimators.py",
        "np.sqrt(share * (1.0 - share) * size / (size - estimator.ddof))",
        "np.sqrt(share * (1.0 - share) * size / (size + estimator.ddof))",
        "test_estimators.py",
    ),
    Mutation(
        "leave-one-out mean",
        "estimators.py",
        "worth * (own - others_paid / (size - 1))",
        "worth * (own + others_paid / (size - 1))",
        "test_estimators.py",
    ),
    Mutation(
        "leave-one-out deviation",
        "estimators.py",
        "np.sqrt(other * (1.0 - other) * (size - 1)",
        "np.sqrt(other * (1.0 + other) * (size - 1)",
        "test_estimators.py",
    ),
    Mutation(
        "gain",
        "estimators.py",
        "rate, paid[1:] - unpaid[:-1])",
        "rate, paid[1:] + unpaid[:-1])",
        "test_estimators.py",
    ),
    Mutation(
        "drift = J a(1 - a) D",
        "moments.py",
        "expected = channel.youden * a * (1.0 - a) * gains",
        "expected = channel.youden * a * (1.0 - a) ** 2 * gains",
        "test_estimators.py",
    ),
    Mutation(
        "variance between S",
        "moments.py",
        "between = (pmf * (given_s - expected[..., np.newaxis]) ** 2)",
        "between = (pmf * (given_s - expected[..., np.newaxis]) ** 3)",
        "test_estimators.py",
    ),
    Mutation(
        "variance within S",
        "moments.py",
        "right_if_paid * (1.0 - right_if_paid)",
        "right_if_paid * (1.0 + right_if_paid)",
        "test_estimators.py",
    ),
    Mutation(
        "mean field 1/sqrt(q(1 - q))",
        "estimators.py",
        "spread = np.sqrt(rate * (1.0 - rate))",
        "spread = rate * (1.0 - rate)",
        "test_estimators.py",
    ),
    Mutation(
        "silent groups q^G + (1 - q)^G",
        "estimators.py",
        "none_paid + rate**size",
        "none_paid - rate**size",
        "test_estimators.py",
    ),
    Mutation(
        "paid given the right ones",
        "conditional.py",
        "np.array([1.0 - channel.fnr, channel.fpr])",
        "np.array([channel.fnr, channel.fpr])",
        "test_conditional.py",
    ),
    Mutation(
        "gradient given the right ones",
        "conditional.py",
        "up[paid] * (right_paid - own * paid)",
        "up[paid] * (right_paid + own * paid)",
        "test_conditional.py",
    ),
    Mutation(
        "reward variance given the right ones",
        "conditional.py",
        "paid * unpaid / (size * (size - 1.0))",
        "paid * unpaid / (size * (size + 1.0))",
        "test_conditional.py",
    ),
    Mutation(
        "backward correction",
        "corrections.py",
        "(1.0 - channel.fpr) / channel.youden",
        "(1.0 + channel.fpr) / channel.youden",
        "test_corrections.py",
    ),
    Mutation(
        "forward correction",
        "corrections.py",
        "return channel.fnr - 1.0, channel.fnr",
        "return channel.fnr - 1.0, -channel.fnr",
        "test_corrections.py",
    ),
    Mutation(
        "majority",
        "corrections.py",
        "votes - need + 1, rate)",
        "votes - need + 2, rate)",
        "test_corrections.py",
    ),
    Mutation(
        "clock of the ability",
        "mean_field.py",
        "return value / channel.youden",
        "return value * channel.youden",
        "test_mean_field.py",
    ),
    Mutation(
        "right modes concentrate",
        "mean_field.py",
        "y * (y - yy), -z * (z - zz)",
        "y * (y + yy), -z * (z - zz)",
        "test_mean_field.py",
    ),
    Mutation(
        "wrong modes even out",
        "mean_field.py",
        "y * (y - yy), -z * (z - zz)",
        "y * (y - yy), z * (z - zz)",
        "test_mean_field.py",
    ),
    Mutation(
        "noise of a share",
        "mean_field.py",
        "(y * (1.0 - y)) ** 2 *",
        "(y * (1.0 - y)) *",
        "test_mean_field.py",
    ),
    Mutation(
        "KL, objective",
        "rest_points.py",
        "return signal - beta * (ell - ref)",
        "return signal + beta * (ell - ref)",
        "test_mean_field.py",
    ),
    Mutation(
        "KL, rlver",
        "rest_points.py",
        "return pull * concentration",
        "return pull * p * concentration",
        "test_mean_field.py",
    ),
    Mutation(
        "KL, k3",
        "rest_points.py",
        "return pull - beta * apart",
        "return pull * p - beta * apart",
        "test_mean_field.py",
    ),
    Mutation(
        "Mroueh's iteration",
        "rest_points.py",
        "ref + push / beta",
        "ref - push / beta",
        "test_mean_field.py",
    ),
    Mutation(
        "Adam's signal fraction",
        "flow.py",
        "size = np.sqrt(signal**2 + noise)",
        "size = np.sqrt(signal**2 - noise)",
        "test_flow.py",
    ),
    Mutation(
        "variance within and between prompts",
        "flow.py",
        "own.mean(axis=-1) + drifts.var(axis=-1)",
        "own.mean(axis=-1) - drifts.var(axis=-1)",
        "test_flow.py",
    ),
    Mutation(
        "slope of a pass rate under its ceiling",
        "flow.py",
        "slope = self.ceiling * solved",
        "slope = self.ceiling**2 * solved",
        "test_flow.py",
    ),
    Mutation(
        "mean square advantage",
        "flow.py",
        "(1.0 - q) * if_unpaid",
        "(1.0 - q) ** 2 * if_unpaid",
        "test_flow.py",
    ),
    Mutation(
        "warm-up",
        "flow.py",
        "ramp / (2.0 * self.warmup_steps)",
        "ramp / (1.0 * self.warmup_steps)",
        "test_flow.py",
    ),
    Mutation(
        "law of a step",
        "training_chain.py",
        "up[s] * (right_paid - a * paid)",
        "up[s] * (right_paid + a * paid)",
        "test_training_chain.py",
    ),
    Mutation(
        "moments on the grid",
        "chain_kernel.py",
        "(f * f - f) / 2.0, 1.0 - f * f",
        "(f * f + f) / 2.0, 1.0 - f * f",
        "test_training_chain.py",
    ),
    Mutation(
        "step of the compiled chain",
        "chain_kernel.py",
        "up * (k - a * s)",
        "up * (k + a * s)",
        "test_training_chain.py",
    ),
    Mutation(
        "forward-backward",
        "reasoning_chain.py",
        "(backward[1] - backward[0])",
        "(backward[1] + backward[0])",
        "test_reasoning_chain.py",
    ),
    Mutation(
        "score of a step",
        "reasoning_chain.py",
        "surprise = after - chance",
        "surprise = after + chance",
        "test_reasoning_chain.py",
    ),
    Mutation(
        "slowdown", "phase.py", "pace = a * (1.0 - a)", "pace = a * (1.0 - a) ** 2", "test_phase.py"
    ),
    Mutation(
        "bandit: softmax gradient",
        "bandit_kernel.py",
        "(gradient[a, b] - policy[a, b] * rows[_PULL + b])",
        "(gradient[a, b] + policy[a, b] * rows[_PULL + b])",
        "test_bandit.py",
    ),
    Mutation(
        "bandit: clipping",
        "bandit_kernel.py",
        "ratio > 1.0 + learning.clip",
        "ratio > 1.0 - learning.clip",
        "test_bandit.py",
    ),
    Mutation(
        "bandit: KL, k3",
        "bandit_kernel.py",
        "(1.0 - reference / policy[a, b])",
        "(1.0 + reference / policy[a, b])",
        "test_bandit.py",
    ),
    Mutation(
        "theorem finite-group-gradient",
        "estimators.py",
        "rate, paid[1:] - unpaid[:-1])",
        "rate, paid[1:] + unpaid[:-1])",
        "test_theorems.py::test_finite_group_gradient",
    ),
    Mutation(
        "theorem saturation",
        "effective_rollouts.py",
        "signal = channel.youden**2 * variance",
        "signal = channel.youden * variance",
        "test_theorems.py::test_saturation",
    ),
    Mutation(
        "theorem symmetry",
        "moments.py",
        "expected = channel.youden * a * (1.0 - a) * gains",
        "expected = channel.youden * a * (1.0 - a) ** 2 * gains",
        "test_theorems.py::test_symmetry",
    ),
    Mutation(
        "theorem clock",
        "mean_field.py",
        "slowness = 1.0 / (channel.youden * a",
        "slowness = 1.0 / (channel.youden**2 * a",
        "test_theorems.py::test_clock",
    ),
    Mutation(
        "theorem corrections",
        "corrections.py",
        "return channel.fnr - 1.0, channel.fnr",
        "return channel.fnr - 1.0, -channel.fnr",
        "test_theorems.py::test_corrections",
    ),
    Mutation(
        "theorem effective-rollouts",
        "effective_rollouts.py",
        "return 1.0 + phi2(pass_rate, channel, correlation=correlation) * (size - 1.0)",
        "return 1.0 + phi2(pass_rate, channel, correlation=correlation) * (size + 1.0)",
        "test_theorems.py::test_effective_rollouts",
    ),
    Mutation(
        "theorem adam",
        "flow.py",
        "size = np.sqrt(signal**2 + noise)",
        "size = np.sqrt(signal**2 - noise)",
        "test_theorems.py::test_adam",
    ),
    Mutation(
        "theorem between-prompts",
        "effective_rollouts.py",
        "min(float(numerator.mean()) / below, 1.0)",
        "min(float(numerator.mean()) ** 2 / below, 1.0)",
        "test_theorems.py::test_between_prompts",
    ),
    Mutation(
        "theorem unequal-score-noise",
        "effective_rollouts.py",
        "return pull, right + wrong_over_right * wrong",
        "return pull, right - wrong_over_right * wrong",
        "test_theorems.py::test_unequal_score_noise",
    ),
    Mutation(
        "theorem rest-points",
        "rest_points.py",
        "return pull * concentration - beta * (ell - ref)",
        "return pull * concentration + beta * (ell - ref)",
        "test_theorems.py::test_rest_points",
    ),
)


def caught(mutation: Mutation) -> str | None:
    """The first test that fails under the mutation, or None if all pass."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("theory", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "theory" / mutation.file
        path.write_text(
            path.read_text(encoding="utf-8").replace(mutation.old, mutation.new), encoding="utf-8"
        )
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-x",
                "--no-header",
                f"tests/theory/{mutation.tests}",
            ],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode == 0 or not failures:
        return None
    return failures[0].split("::")[-1].split(" - ")[0]


def main(arguments: list[str]) -> None:
    """Run every mutation, or those that begin as asked, and write the table; exit 1 if one is not noticed."""
    asked = arguments[0] if arguments else ""
    kept = {line.split(" | ")[0]: line for line in TABLE.read_text(encoding="utf-8").splitlines()}
    lines = [
        "# Mutations of theory/",
        "",
        "Written by `python -m tests.faults.theory_mutations`: one sign or exponent flipped at a time.",
        "",
        "| law | file | from | to | first test that fails |",
        "|---|---|---|---|---|",
    ]
    missed = 0
    for mutation in MUTATIONS:
        if not mutation.law.startswith(asked) and f"| {mutation.law}" in kept:
            lines.append(kept[f"| {mutation.law}"])
            missed += "**none**" in lines[-1]
            continue
        test = caught(mutation)
        missed += test is None
        old, new = (text.replace("|", "\\|") for text in (mutation.old, mutation.new))
        verdict = f"`{test}`" if test else "**none**"
        lines.append(f"| {mutation.law} | {mutation.file} | `{old}` | `{new}` | {verdict} |")
        sys.stderr.write(f"{mutation.law}: {test or 'NOT NOTICED'}\n")
    lines += ["", f"{len(MUTATIONS) - missed} of {len(MUTATIONS)} noticed."]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
