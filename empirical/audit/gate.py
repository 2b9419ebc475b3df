"""An audit as a gate: rules that fail a build, and reports that a build server shows.

A rule is a plain comparison on a number of the audit, `youden<.8` or `fpr_high>.1`; commas join conditions
that must all hold, several rules are alternatives, as in every selection of ours, and nothing is evaluated as
code. A rule whose number the labels do not identify fires: a gate that cannot be judged is not passed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

import pandas as pd

from empirical.audit.verdicts import Audit
from fits.errors import InputError
from fits.selection import Condition, parse_selection, select

__all__ = ["Gate", "check_gate", "junit", "sarif"]

_WITH_ENDS: Final = (
    "fpr",
    "fnr",
    "youden",
    "pass_rate",
    "phi2",
    "phi2_within",
    "effective_rollouts",
)
_ALONE: Final = ("p_youden", "icc", "n", "clusters", "unscorable", "unscorable_share")


@dataclass(frozen=True)
class Gate:
    """A rule, whether it fires, and why."""

    rule: str
    fires: bool
    message: str


def numbers(audit: Audit) -> dict[str, float | None]:
    """What a rule may name: rates and their interval's ends (`fpr_low`, `fpr_high`), counts, `segments`."""
    found: dict[str, float | None] = {}
    for name in _WITH_ENDS:
        ends = getattr(audit, f"{name}_ci") or (None, None)
        found |= {name: getattr(audit, name), f"{name}_low": ends[0], f"{name}_high": ends[1]}
    found |= {name: getattr(audit, name) for name in _ALONE}
    return found | {"segments": float(len(audit.segments)), "warnings": float(len(audit.warnings))}


def check_gate(audit: Audit, rules: Sequence[str]) -> tuple[Gate, ...]:
    """Each rule in turn. Raises InputError for one that is no comparison or names nothing of an audit."""
    there = numbers(audit)
    gates: list[Gate] = []
    for rule in rules:
        (conditions,) = parse_selection([rule]).alternatives
        for condition in conditions:
            _check(condition, rule, there)
        unknown = [c.column for c in conditions if there[c.column] is None]
        known = tuple(c for c in conditions if there[c.column] is not None)
        row = pd.DataFrame([{c.column: there[c.column] for c in known}])
        text = ",".join(f"{c.column}{c.comparison}{c.value}" for c in known)
        holds = not known or bool(select(row, parse_selection([text]))[0])
        values = ", ".join(f"{c.column} is {there[c.column]:.4g}" for c in known)
        if unknown:
            values = "; ".join(filter(None, [values, f"{', '.join(unknown)} unidentified"]))
        gates.append(Gate(rule, holds, values))
    return tuple(gates)


def _check(condition: Condition, rule: str, there: dict[str, float | None]) -> None:
    if condition.column not in there:
        raise InputError(
            f"--fail-on {rule!r}: an audit has no {condition.column!r}; it has {', '.join(there)}"
        )
    try:
        float(condition.value)
    except ValueError:
        raise InputError(f"--fail-on {rule!r}: {condition.value!r} is not a number") from None


def junit(audit: Audit, gates: Sequence[Gate]) -> str:
    """The audit as a JUnit test suite: a test a rule, and one for systematic errors, told but never failed."""
    suite = ElementTree.Element(
        "testsuite",
        name="verigap audit",
        tests=str(len(gates) + 1),
        failures=str(sum(gate.fires for gate in gates)),
        errors="0",
        skipped="0",
    )
    for gate in gates:
        case = ElementTree.SubElement(suite, "testcase", classname=audit.source, name=gate.rule)
        if gate.fires:
            failure = ElementTree.SubElement(case, "failure", message=gate.message)
            failure.text = f"--fail-on {gate.rule}: {gate.message}"
    case = ElementTree.SubElement(
        suite, "testcase", classname=audit.source, name="systematic errors"
    )
    lines = [_sentence(s) for s in audit.segments] or ["none found"]
    ElementTree.SubElement(case, "system-out").text = "\n".join([*lines, *audit.warnings])
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _sentence(segment: Any) -> str:
    return (
        f"{segment.error}: {segment.errors} of {segment.n} where {segment.segment}"
        f" (adjusted p {segment.p_adjusted:.2g})"
    )


def sarif(audit: Audit, gates: Sequence[Gate], *, version: str) -> str:
    """The audit as a SARIF 2.1.0 log: a result a rule that fires (error) and a systematic error (warning)."""
    location = [{"physicalLocation": {"artifactLocation": {"uri": audit.source}}}]
    results = [
        {
            "ruleId": "fail-on",
            "level": "error",
            "message": {"text": f"{gate.rule}: {gate.message}"},
            "locations": location,
        }
        for gate in gates
        if gate.fires
    ] + [
        {
            "ruleId": "systematic-error",
            "level": "warning",
            "message": {"text": _sentence(segment)},
            "locations": location,
        }
        for segment in audit.segments
    ]
    rules = [
        {"id": "fail-on", "shortDescription": {"text": "A rule of --fail-on fires."}},
        {
            "id": "systematic-error",
            "shortDescription": {"text": "A verifier's errors go with a feature."},
        },
    ]
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "verigap", "version": version, "rules": rules}},
                "results": results,
            }
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
