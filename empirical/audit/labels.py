"""Labelled verdicts: what was right, what was paid, and which prompt each rollout belongs to.

A row is a rollout. Its truth is 1 or 0, or empty where nobody labelled it; its verdict is 1 or 0, or empty
(or "unscorable") where the verifier could not tell. Either may be a column, or be made here from completions
and gold answers. A `*` in a column's name stands for several nested columns of one line (`*.solution`), each
of which becomes a row; the lines are then the clusters.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from empirical.audit.judged import Judged, gold_answer, judge_all, judge_named, judge_regex
from fits.errors import InputError
from fits.files import file_bytes
from fits.plain import counted
from fits.readers.jsonl import parse_json
from fits.readers.text import lines_of, read_parquet, refuse_wide
from fits.selection import parse_selection, select, values_there
from fits.table import ORIGIN

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

__all__ = ["Labels", "Source", "read_labels", "read_rows"]

_YES: Final = {"true", "yes", "right", "correct", "paid", "pass", "passed", "accept", "accepted"}
_NO: Final = {"false", "no", "wrong", "incorrect", "unpaid", "fail", "failed", "reject", "rejected"}
_NONE: Final = {"", "nan", "none", "null", "na", "n/a", "<na>"}


@dataclass(frozen=True)
class Source:
    """Where truth, verdicts and clusters come from; None: not given.

    truth, verdict: columns. threshold: a graded verdict pays at or above it. cluster: columns, together a
    prompt. completion, gold, answer: text columns; what is judged, and what segments are described by.
    gold_after: the gold answer is what follows the last of this text. verifier: a name or module:function,
    or verifier_regex a pattern; reference: a named verifier that says what is right where no column does.
    auxiliary: columns with other verifiers' verdicts, which may shorten the pass rate's interval.
    where: rows to keep, as `fits.parse_selection` reads them.
    """

    truth: str | None = None
    verdict: str | None = None
    threshold: float | None = None
    cluster: str | None = None
    completion: str | None = None
    gold: str | None = None
    answer: str | None = None
    gold_after: str | None = None
    verifier: str | None = None
    verifier_regex: str | None = None
    reference: str | None = None
    auxiliary: tuple[str, ...] = ()
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """N rollouts. truth_N, verdict_N: 1, 0 or NaN (unlabelled; unscorable). cluster_N: code of the prompt.

    auxiliary_VN: other verifiers' verdicts. texts: role (completion, gold, answer) to its cells. others:
    the columns left, which may describe segments. clustered_by: in words; None where each row is its own.
    """

    truth_N: FloatArray
    verdict_N: FloatArray
    cluster_N: IntArray
    auxiliary_VN: FloatArray
    texts: dict[str, list[str]]
    others: pd.DataFrame
    source: str
    clustered_by: str | None
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def read_rows(path: Path) -> pd.DataFrame:
    """The rows of a CSV (cells as text), Parquet or JSONL (nested objects become a.b columns) file.

    Raises InputError naming the file, and the line where there is one.
    """
    try:
        match path.suffix.lower():
            case ".parquet" | ".pq":
                return read_parquet(path)[0].drop(columns=ORIGIN)
            case ".jsonl" | ".ndjson" | ".json":
                return _json_lines(path)
            case _:
                separator = "\t" if path.suffix.lower() == ".tsv" else ","
                text = file_bytes(path)
                head = text.partition(b"\n")[0]
                refuse_wide(head.count(separator.encode()) + 1, source=str(path))
                return pd.read_csv(
                    io.BytesIO(text), dtype=str, keep_default_na=False, sep=separator
                )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, not a table of labelled verdicts") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file") from None
    except InputError:
        raise
    except Exception as error:  # pandas and pyarrow have a dozen classes for a bad file
        raise InputError(f"{path}: cannot be read ({error})") from None


def _json_lines(path: Path) -> pd.DataFrame:
    text = file_bytes(path).decode("utf-8")
    rows: list[Any] = []
    if text.lstrip().startswith("["):
        rows = parse_json(text, source=str(path))
    else:
        for count, line in enumerate(lines_of(text), 1):
            if line.strip():
                rows.append(parse_json(line, source=f"{path}, line {count}"))
    for count, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path}, record {count}: is no object with named values")
    names = {name for row in rows for name in row}
    refuse_wide(len(names), rows=len(rows), values=sum(map(len, rows)), source=str(path))
    return pd.json_normalize(rows)


def read_labels(rows: pd.DataFrame | Path | str, source: Source) -> Labels:
    """Read labelled verdicts; judge completions where `source` says so.

    Raises InputError naming the file, the column, and the row and value that cannot be used.
    """
    spoken = "the table" if isinstance(rows, pd.DataFrame) else str(rows)
    frame = rows if isinstance(rows, pd.DataFrame) else read_rows(Path(rows))
    if frame.empty:
        raise InputError(f"{spoken}: has no rows")
    assumptions: list[str] = []
    notes: list[str] = []
    frame, source, line = _unnested(frame.reset_index(drop=True), source, spoken)
    for option in ("truth", "verdict", "completion", "gold", "answer"):
        _need(frame, getattr(source, option), option, spoken)
    for name in source.auxiliary:
        _need(frame, name, "auxiliary", spoken)
    if source.where:
        selection = parse_selection(source.where)
        taken = select(frame, selection, source=spoken)
        if not taken.any():
            raise InputError(
                f"{spoken}: no row where {selection.text}; {values_there(frame, selection)}"
            )
        frame = frame[taken].reset_index(drop=True)
        line = line[taken] if line is not None else None
    texts = _texts(frame, source, assumptions)
    truth_N = _truth(frame, source, texts, spoken, assumptions, notes)
    verdict_N = _verdict(frame, source, texts, spoken, notes)
    auxiliary = [
        _binary(frame[name], name, spoken, source.threshold, may_fail=True)
        for name in source.auxiliary
    ]
    if source.cluster is not None:
        names = [name.strip() for name in source.cluster.split(",") if name.strip()]
        for name in names:
            _need(frame, name, "cluster", spoken)
        by: Any = frame.groupby(names, sort=False, dropna=False).ngroup()
        cluster_N, clustered_by = by.to_numpy(np.intp), ", ".join(names)
    elif line is not None:
        cluster_N, clustered_by = line, "line"
    else:
        cluster_N, clustered_by = np.arange(len(frame), dtype=np.intp), None
    used = {source.truth, source.verdict, source.completion, source.gold, source.answer}
    used |= set(source.auxiliary)
    if source.cluster is not None:
        used |= {name.strip() for name in source.cluster.split(",")}
    others = frame[[name for name in frame.columns if name not in used]]
    return Labels(
        truth_N=truth_N,
        verdict_N=verdict_N,
        cluster_N=cluster_N,
        auxiliary_VN=np.array(auxiliary).reshape(len(auxiliary), len(frame)),
        texts=texts,
        others=others,
        source=spoken,
        clustered_by=clustered_by,
        assumptions=tuple(assumptions),
        notes=tuple(notes),
    )


def _need(frame: pd.DataFrame, name: str | None, option: str, spoken: str) -> None:
    if name is not None and name not in frame.columns:
        have = ", ".join(str(column) for column in frame.columns)
        raise InputError(f"{spoken}: --{option}: no column {name!r}; there are: {have}")


def _unnested(
    frame: pd.DataFrame, source: Source, spoken: str
) -> tuple[pd.DataFrame, Source, IntArray | None]:
    """Rows made of the nested columns that a `*` stands for; which line each came from."""
    options = ("truth", "verdict", "completion", "gold", "answer")
    starred = {o: getattr(source, o) for o in options if "*" in (getattr(source, o) or "")}
    if not starred:
        return frame, source, None
    values: dict[str, None] = {}
    for option, name in starred.items():
        before, _, after = name.partition("*")
        pattern = re.compile(f"{re.escape(before)}(.+){re.escape(after)}")
        found = [m[1] for m in map(pattern.fullmatch, map(str, frame.columns)) if m]
        if not found:
            have = ", ".join(map(str, frame.columns))
            raise InputError(f"{spoken}: --{option}: no column like {name!r}; there are: {have}")
        values |= dict.fromkeys(found)
    nested = {name.replace("*", value) for name in starred.values() for value in values}
    nested |= {column for column in map(str, frame.columns) if column.partition(".")[0] in values}
    plain = frame[[column for column in frame.columns if column not in nested]]
    renamed = {o: name.replace("*.", "").replace("*", "value") for o, name in starred.items()}
    parts: list[pd.DataFrame] = []
    for value in values:
        part = plain.copy()
        part["variant"] = value
        for option, name in starred.items():
            column = name.replace("*", value)
            if column in frame.columns:
                part[renamed[option]] = frame[column]
        parts.append(part)
    lines = np.tile(np.arange(len(frame), dtype=np.intp), len(values))
    kept = {o: renamed.get(o, getattr(source, o)) for o in options}
    fields = {f: getattr(source, f) for f in source.__dataclass_fields__} | kept
    rows = pd.concat(parts, ignore_index=True)
    first = next(iter(renamed.values()))
    there = rows[first].notna().to_numpy(np.bool_)
    return rows[there].reset_index(drop=True), Source(**fields), lines[there]


_GUESSES: Final = (
    ("gold", re.compile(r"gold|^gt_|_gt$|ground_?truth|target|reference|expected", re.I)),
    ("answer", re.compile(r"answer|extracted|predict|^pred$", re.I)),
    ("completion", re.compile(r"completion|response|output|solution|generation|^text$", re.I)),
)


def _texts(frame: pd.DataFrame, source: Source, assumptions: list[str]) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    taken: set[str] = {n for n in (source.truth, source.verdict, *source.auxiliary) if n}
    for role in ("completion", "gold", "answer"):
        name = getattr(source, role)
        if name is not None:
            texts[role] = [_text(cell) for cell in frame[name]]
            taken.add(name)
    for role, pattern in _GUESSES:
        if role in texts:
            continue
        for name in map(str, frame.columns):
            if name not in taken and pattern.search(name) and _is_text(frame[name], role):
                texts[role] = [_text(cell) for cell in frame[name]]
                taken.add(name)
                assumptions.append(f"column {name!r} is read as the {role}, by its name")
                break
    if "gold" in texts:
        texts["gold"] = [gold_answer(text, source.gold_after) for text in texts["gold"]]
    return texts


def _is_text(cells: pd.Series[Any], role: str) -> bool:
    """Whether cells look like answers, or like completions, of which most are more than a number."""
    some = [_text(cell) for cell in cells.head(200)]
    if len(set(some)) < 3:
        return False
    return role != "completion" or sum(" " in text.strip() for text in some) > len(some) / 2


def _text(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, list) and cell and isinstance(cell[-1], dict):
        return str(cell[-1].get("content", cell[-1]))  # a chat: its last message
    return str(cell)


def _binary(
    cells: pd.Series[Any], name: str, spoken: str, threshold: float | None, *, may_fail: bool
) -> FloatArray:
    """Cells as 1, 0 and NaN."""
    found = np.empty(len(cells))
    for row, cell in enumerate(cells):
        text = _text(cell).strip().lower()
        if text in _NONE or (may_fail and text == "unscorable"):
            found[row] = np.nan
            continue
        if text in _YES or text in _NO:
            found[row] = float(text in _YES)
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if threshold is not None and math.isfinite(value):
            value = float(value >= threshold)
        if value not in (0.0, 1.0):
            hint = "; give --threshold" if may_fail and math.isfinite(value) else ""
            raise InputError(f"{spoken}, row {row + 1}: {name} is {cell!r}, not 0 or 1{hint}")
        found[row] = value
    return found


def _truth(
    frame: pd.DataFrame,
    source: Source,
    texts: dict[str, list[str]],
    spoken: str,
    assumptions: list[str],
    notes: list[str],
) -> FloatArray:
    if source.truth is not None:
        return _binary(frame[source.truth], source.truth, spoken, None, may_fail=False)
    completions, golds = _to_judge(source, texts, "--truth COLUMN")
    reference = source.reference or "math_verify"
    judged = judge_named(reference, completions, golds)
    assumptions.append(
        f"right is what the reference {reference!r} says; its own errors count as ours"
    )
    unclear = int(np.isnan(judged.verdict_N).sum())
    if unclear:
        notes.append(
            f"the reference {reference!r} could not tell of {counted(unclear, 'rollout')}: unlabelled"
        )
    return judged.verdict_N


def _verdict(
    frame: pd.DataFrame,
    source: Source,
    texts: dict[str, list[str]],
    spoken: str,
    notes: list[str],
) -> FloatArray:
    ways = [w for w in (source.verdict, source.verifier, source.verifier_regex) if w is not None]
    if len(ways) != 1:
        raise InputError(
            "name where verdicts come from: one of --verdict COLUMN, --verifier NAME or"
            " module:function, --verifier-regex PATTERN"
        )
    if source.verdict is not None:
        return _binary(
            frame[source.verdict], source.verdict, spoken, source.threshold, may_fail=True
        )
    completions, golds = _to_judge(source, texts, "--verdict COLUMN")
    judged: Judged
    if source.verifier is not None:
        columns = {str(name): frame[name].tolist() for name in frame.columns}
        judged = judge_all(source.verifier, completions, golds, columns)
    else:
        assert source.verifier_regex is not None
        judged = judge_regex(source.verifier_regex, completions, golds)
    notes += judged.notes
    return judged.verdict_N


def _to_judge(
    source: Source, texts: dict[str, list[str]], instead: str
) -> tuple[Sequence[str], Sequence[str]]:
    if source.completion is None or source.gold is None:
        raise InputError(f"give {instead}, or --completion and --gold to judge here")
    return texts["completion"], texts["gold"]
