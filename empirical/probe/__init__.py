"""The probe: what each verifier of a study would do to the speed of learning, measured without training.

Law. At a model's weights, sample groups and take each rollout's score (`empirical.training.scores`); judge the same
rollouts under every verifier with the same uniforms; the means and variances of the group gradients give,
weight by weight, the step an optimiser would take, and with the gradient of clean accuracy what that step is
worth (`empirical.probe.statistics`). Nothing is fitted.
Fails first where the policy has moved away from these weights: it is the speed here and now.
Source: docs/theory.md, the probe; checked against the campaign in LOG.md.

Prompts come in blocks, whose sums are written to `<out>.parts/` as they are ready: an interrupted probe goes
on from there, one process or several give equal bytes, and the jackknife leaves out a block at a time.
"""

from __future__ import annotations

from empirical.probe.launch import discard_parts, initial_weights, probe
from empirical.probe.measure import BlockSums, group_weights
from empirical.probe.result import (
    ArmProbe,
    Form,
    Probe,
    SizeProbe,
    phi2_measured,
    read_probe,
    result_of,
)
from empirical.probe.spec import GROUPS, WEIGHTS, ProbeSpec, probe_spec

__all__ = [
    "GROUPS",
    "WEIGHTS",
    "ArmProbe",
    "BlockSums",
    "Form",
    "Probe",
    "ProbeSpec",
    "SizeProbe",
    "discard_parts",
    "group_weights",
    "initial_weights",
    "phi2_measured",
    "probe",
    "probe_spec",
    "read_probe",
    "result_of",
]
