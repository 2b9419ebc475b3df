"""The one exception `empirical` raises for a study, a task or a machine it cannot use."""

from __future__ import annotations


class StudyError(ValueError):
    """A study, its data or this machine cannot do what was asked; the message says which and why."""
