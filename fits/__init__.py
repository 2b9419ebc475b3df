"""Scaling laws of the accuracy gap against compute, fitted to logged runs, with honest uncertainty."""

from __future__ import annotations

from fits.collapse import find_turn
from fits.errors import InputError
from fits.fit import CurveFit, GroupFit, fit_curve, fit_groups
from fits.gap import GapReport, gap_report
from fits.joint import JOINT_LAWS, SurfaceFit, fit_surface
from fits.laws import CURVE_LAWS, EXPONENTIAL, LOG, POWER, SIGMOID, Law, Parameter, curve_law
from fits.readers import FORMATS, read_runs, recognise
from fits.selection import parse_assignments, parse_selection, select
from fits.table import COLUMNS, RunTable, validate_runs, write_runs

__all__ = [
    "COLUMNS",
    "CURVE_LAWS",
    "EXPONENTIAL",
    "FORMATS",
    "JOINT_LAWS",
    "LOG",
    "POWER",
    "SIGMOID",
    "CurveFit",
    "GapReport",
    "GroupFit",
    "InputError",
    "Law",
    "Parameter",
    "RunTable",
    "SurfaceFit",
    "curve_law",
    "find_turn",
    "fit_curve",
    "fit_groups",
    "fit_surface",
    "gap_report",
    "parse_assignments",
    "parse_selection",
    "read_runs",
    "recognise",
    "select",
    "validate_runs",
    "write_runs",
]
