"""Audit a real verifier: error rates, what its rollouts are worth, and where it errs systematically."""

from __future__ import annotations

from empirical.audit.labels import Source, read_labels
from empirical.audit.segments import Segment
from empirical.audit.verdicts import Audit, audit_labels

__all__ = ["Audit", "Segment", "Source", "audit_labels", "read_labels"]
