"""Selections are comparisons and nothing more."""

from __future__ import annotations

import pandas as pd
import pytest

from fits import InputError, parse_assignments, parse_selection, select

FRAME = pd.DataFrame(
    {
        "arm": ["clean", "fp", "fn"],
        "fpr": [0.0, 0.1 + 0.2, 0.0],
        "fnr": [0.0, 0.0, 0.3],
        "step": ["1", "10", "2"],
    }
)


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        (["fpr=0,fnr=0"], [True, False, False]),
        (["fpr=0", "fnr=0"], [True, True, True]),
        (["fpr=0.3"], [False, True, False]),
        (["fpr==0.3"], [False, True, False]),
        (["arm!=clean"], [False, True, True]),
        (["arm=fp", "arm=fn"], [False, True, True]),
        (["step>2"], [False, True, False]),
        (["step>=2 , step<10"], [False, False, True]),
        (["step<=1"], [True, False, False]),
        ([], [True, True, True]),
    ],
)
def test_commas_and_flags_or(texts: list[str], rows: list[bool]) -> None:
    assert select(FRAME, parse_selection(texts)).tolist() == rows


@pytest.mark.parametrize("text", ["fpr", "", "fpr=0,", "=0", "__import__('os')"])
def test_what_is_no_comparison_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="selection"):
        parse_selection([text])


def test_unknown_columns_and_unordered_text_are_refused() -> None:
    with pytest.raises(InputError, match="no column 'fp'"):
        select(FRAME, parse_selection(["fp=0"]))
    with pytest.raises(InputError, match="'clean' is not a number"):
        select(FRAME, parse_selection(["arm>clean"]))


def test_assignments() -> None:
    assert parse_assignments(["a=b,c=d", "e=f"], option="--map") == {"a": "b", "c": "d", "e": "f"}
    with pytest.raises(InputError, match="--set 'a'"):
        parse_assignments(["a"], option="--set")


def test_a_comparison_nobody_knows_is_not_read_as_another() -> None:
    for text in ("fpr=>0", "fpr=<0", "fpr=!1", "fpr<>1"):
        with pytest.raises(InputError, match="is no comparison"):
            parse_selection([text])
