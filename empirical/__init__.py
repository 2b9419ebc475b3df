"""Matched RLVR training runs: tasks, verifiers, the noisy reward, studies, training, evaluation."""

from __future__ import annotations

from empirical.errors import StudyError

__all__ = ["StudyError"]
