"""What a noisy verifier costs in RLVR: the command line, the report, and the Python face.

`import verigap as vg` loads nothing; a verb is loaded where it is first named. Every verb of the command line is
one function here, takes the command line's words, and returns one frozen result: `plain()` is what `--json`
prints, `to_frame()` a table, `plot()` its picture where there is one. A mistake raises `UserError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from empirical.training.callbacks import VerigapCallback
    from verigap.errors import UserError
    from verigap.face.checkpoints import probe
    from verigap.face.decisions import audit, plan, power
    from verigap.face.exact import drift, phase, rest_points
    from verigap.face.forecasts import predict, validate
    from verigap.face.reports import report
    from verigap.face.runs import fit, gap, read_runs
    from verigap.face.sweeps import simulate
    from verigap.face.watching import watch

__all__ = [
    "UserError",
    "VerigapCallback",
    "__version__",
    "audit",
    "drift",
    "fit",
    "gap",
    "phase",
    "plan",
    "power",
    "predict",
    "probe",
    "read_runs",
    "report",
    "rest_points",
    "simulate",
    "validate",
    "watch",
]
__version__ = "0.1.0"

_HOME = {
    "UserError": "verigap.errors",
    "VerigapCallback": "empirical.training.callbacks",
    "audit": "verigap.face.decisions",
    "drift": "verigap.face.exact",
    "fit": "verigap.face.runs",
    "gap": "verigap.face.runs",
    "phase": "verigap.face.exact",
    "plan": "verigap.face.decisions",
    "power": "verigap.face.decisions",
    "predict": "verigap.face.forecasts",
    "probe": "verigap.face.checkpoints",
    "read_runs": "verigap.face.runs",
    "report": "verigap.face.reports",
    "rest_points": "verigap.face.exact",
    "simulate": "verigap.face.sweeps",
    "validate": "verigap.face.forecasts",
    "watch": "verigap.face.watching",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'verigap' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
