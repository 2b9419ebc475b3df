"""docs/contract.md: the keys it promises are printed, the columns it promises are those of the run table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fits.table import COLUMNS
from tests.builders import ROOT
from tests.commands.command import document

CONTRACT = (ROOT / "docs/contract.md").read_text(encoding="utf-8")
SMOKE = ROOT / "empirical/results/cpu-smoke"
LABELS = "truth,verdict\n" + "1,1\n1,0\n0,0\n0,1\n1,1\n0,0\n" * 5


def promised(verb: str, keys: str = "Keys") -> list[str]:
    """The keys that a command's section names."""
    section = CONTRACT.split(f"\n### `verigap {verb}`\n")[1].split("\n### ")[0]
    return re.findall(r"`([\w.]+)`", section.split(f"\n{keys}")[1].split(";\nthose of a run")[0])


def missing(printed: dict[str, Any], keys: list[str]) -> list[str]:
    """Those of `keys` that a document lacks; `arms.arm` is a key of each of its arms, or of the mapping."""
    lacking = []
    for key in keys:
        here: Any = [printed]
        for part in key.split("."):
            inner = [item[part] for item in here if isinstance(item, dict) and part in item]
            if len(inner) < len(here) or not here:
                lacking.append(key)
                break
            here = [x for item in inner for x in (item if isinstance(item, list) else [item])]
    return lacking


@pytest.mark.parametrize(
    "arguments",
    [
        ("drift", "--pass-rate", "0.3"),
        ("rest-points", "--beta", "1", "--reference-pass-rate", "0.2", "--fpr", "0.1"),
        ("phase", "--fpr-grid", "0,0.2", "--fnr-grid", "0,0.2", "--out", "{tmp}/phase"),
        ("fit", SMOKE, "--law", "exponential"),
        ("gap", SMOKE, "--law", "exponential"),
        ("validate", SMOKE, "--calibrate-on", "arm=clean", "--out", "{tmp}/calibration.json"),
        ("import", SMOKE, "--out", "{tmp}/runs.csv"),
        ("audit", "{tmp}/labels.csv", "--truth", "truth", "--verdict", "verdict"),
        ("plan", "--pass-rate", "0.3", "--fpr", "0.1", "--fnr", "0.2", "--steps", "100"),
        ("power", ROOT / "empirical/studies/trained/qwen2.5-gsm8k-powered.yaml"),
        ("doctor",),
        ("report", SMOKE, "--law", "exponential", "--out", "{tmp}/report.html"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_promised_keys_are_printed(arguments: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(LABELS)
    printed = document(*(str(a).replace("{tmp}", str(tmp_path)) for a in arguments))
    keys = promised(str(arguments[0]))
    assert keys
    assert missing(printed, keys) == []


def test_a_dry_run_prints_its_keys() -> None:
    printed = document("train", ROOT / "empirical/studies/trained/cpu-smoke.yaml", "--dry-run")
    keys = promised("train", "Keys of both")
    assert len(keys) > 10
    assert missing(printed, keys) == []


def test_the_columns_are_those_of_the_run_table() -> None:
    section = CONTRACT.split("\n## The run table\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {column.name for column in COLUMNS}


def test_a_key_that_is_not_printed_is_seen() -> None:
    printed = {"arms": [{"arm": "a", "ci": None}, {"arm": "b"}], "n": 1}
    assert missing(printed, ["n", "arms.arm", "arms.ci", "m"]) == ["arms.ci", "m"]
