"""How false-positive and false-negative verifier noise biases group-relative policy gradients.

Exact at finite group size, fast on a CPU, and free of torch and pandas. What needs a compiler is a
submodule (`theory.bandit`, `theory.kernels`), so that importing `theory` stays cheap.
"""

from __future__ import annotations

from theory.channel import VerifierChannel
from theory.effective_rollouts import (
    effective_rollouts,
    matching_rollouts,
    phi2,
    population_phi2,
    snr2_weight,
)
from theory.errors import ArgumentError
from theory.estimators import (
    DR_GRPO,
    GRPO,
    GRPO_LOO,
    NEMO_LOO,
    REINFORCE,
    RLOO,
    Estimator,
    advantages,
    estimator_named,
    gain,
)
from theory.moments import Drift, drift

__all__ = [
    "DR_GRPO",
    "GRPO",
    "GRPO_LOO",
    "NEMO_LOO",
    "REINFORCE",
    "RLOO",
    "ArgumentError",
    "Drift",
    "Estimator",
    "VerifierChannel",
    "advantages",
    "drift",
    "effective_rollouts",
    "estimator_named",
    "gain",
    "matching_rollouts",
    "phi2",
    "population_phi2",
    "snr2_weight",
]
