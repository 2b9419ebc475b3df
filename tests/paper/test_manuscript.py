"""The manuscript: its numbers are those of the committed data, its text holds none, and its statements have tests."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from paper.argument.run_numbers import Material, load
from paper.argument.texts import interval, number, numbers_tex, signed
from paper.argument.write import FIGURES, MANUSCRIPT, drawings, stamp, texts
from tests.builders import ROOT
from tests.docs.test_sources import wrong_calls
from tests.faults.theory_mutations import MUTATIONS
from tests.theory import test_theorems

GENERATED = ROOT / "paper" / "generated"
SOURCES = ("verigap.tex", "appendix.tex")
# Digits that mathematics needs: exponents, indices, small counts.
IN_MATHEMATICS = {"0", "1", "2", "3", "4"}


@cache
def material() -> Material:
    return load(ROOT)


def source(name: str) -> str:
    """A file of the manuscript without its comments."""
    text = (ROOT / MANUSCRIPT / name).read_text(encoding="utf-8")
    return re.sub(r"(?<!\\)%.*", "", text)


def test_committed_numbers_and_tables_are_what_the_data_give() -> None:
    for name, text in texts(material()).items():
        committed = (GENERATED / name).read_text(encoding="utf-8")
        assert committed == text, f"{name} differs from what the data give: make paper"


def test_committed_figures_show_what_the_data_give() -> None:
    for name, draw in drawings(material()).items():
        committed = (GENERATED / FIGURES.format(name=name)).with_suffix(".csv")
        drawn = draw().data
        kept = pd.read_csv(committed)
        assert list(kept.columns) == list(drawn.columns), name
        again = pd.read_csv(committed.with_suffix(".csv"), dtype=str)
        assert len(again) == len(drawn), f"{name}: make paper"
        for column in kept.columns:
            if pd.api.types.is_float_dtype(drawn[column]):
                pd.testing.assert_series_equal(
                    kept[column].astype(float), drawn[column].reset_index(drop=True), rtol=1e-6, atol=1e-9
                )  # fmt: skip
        for suffix in (".png", ".pdf"):
            assert committed.with_suffix(suffix).is_file()


def test_the_committed_pdf_is_of_these_sources() -> None:
    of = re.search(r"Sources \((\w+)\)", stamp(ROOT, texts(material())))
    assert of is not None
    pdf = (ROOT / "paper" / "verigap.pdf").read_bytes()
    assert of[1].encode() in pdf, "text, numbers or tables have changed since: make paper"


def test_every_number_that_the_text_names_is_made_once() -> None:
    made = set(re.findall(r"\\setval\{([^}]+)\}", texts(material())["numbers.tex"]))
    for name in SOURCES:
        named = set(re.findall(r"\\val\{([^}]+)\}", source(name)))
        assert named <= made, f"{name}: {sorted(named - made)} are made by nothing"


def test_the_text_holds_no_number_of_its_own() -> None:
    for name in SOURCES:
        assert digits(source(name)) == [], name


def digits(text: str) -> list[str]:
    """Digit strings that are no macro's, no reference's and no small count of mathematics."""
    text = re.sub(r"\\begin\{tabular\}\{.*", "", text)
    text = re.sub(r"\\(val|cite|ref|eqref|label|tablefile|plotfile|input|code|documentclass|hspace)"
                  r"(\[[^\]]*\])?\{[^}]*\}", "", text)  # fmt: skip
    text = re.sub(
        r"\\documentclass.*|\\\\\[\d+pt\]|\\itemsep0pt|\\setlength\{\\tabcolsep\}\{4pt\}|\d+(\.\d+)?\\linewidth",
        "",
        text,
    )
    found: list[str] = []

    def mathematics(inside: re.Match[str]) -> str:
        found.extend(d for d in re.findall(r"\d+", inside.group()) if d not in IN_MATHEMATICS)
        return ""

    environments = r"\\begin\{(equation|align\*?|gather\*?|multline\*?)\}.*?\\end\{\1\}"
    for pattern in (environments, r"\\\[.*?\\\]", r"\$[^$]*\$"):
        text = re.sub(pattern, mathematics, text, flags=re.DOTALL)
    return found + re.findall(r"[^\s]*\d+[^\s]*", text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (r"It fell by \val{gap.fpr0.4.4.end} at $G=2$~\cite{seed25}.", []),
        ("It fell by 0.03.", ["0.03."]),
        (r"At $a=0.35$", ["35"]),
        (r"\begin{equation}17\end{equation}", ["17"]),
    ],
)
def test_digits_are_found(text: str, left: list[str]) -> None:
    assert digits(text) == left


def test_every_statement_has_a_test_of_its_name_and_a_mutation_of_what_implements_it() -> None:
    text = "".join(map(source, SOURCES))
    labels = set(re.findall(r"\\label\{thm:([a-z-]+)\}", text))
    statements = len(re.findall(r"\\begin\{(?:theorem|proposition|corollary)\}", text))
    assert len(labels) == statements
    tests = {name for name in vars(test_theorems) if name.startswith("test_")}
    assert tests == {"test_" + label.replace("-", "_") for label in labels}
    flipped = {m.law: m.tests for m in MUTATIONS if m.law.startswith("theorem ")}
    assert flipped == {
        f"theorem {label}": f"test_theorems.py::test_{label.replace('-', '_')}" for label in labels
    }
    proofs = source("appendix.tex")
    for label in labels:
        assert re.search(
            rf"\\paragraph\{{[A-Z][a-z]+~\\ref\{{thm:{label}\}}\.\}}.*?\\qed", proofs, re.DOTALL
        ), label


def test_the_commands_of_the_recipe_exist() -> None:
    called = [
        " ".join(code.split())
        for code in re.findall(r"\\code\{(verigap [^}]+)\}", source("verigap.tex"))
    ]
    assert {code.split()[1] for code in called} == {
        "audit",
        "plan",
        "probe",
        "train",
        "watch",
        "gap",
    }
    assert [wrong for code in called for wrong in wrong_calls(code)] == []


def test_references_that_are_cited_are_there_and_those_there_are_cited() -> None:
    cited = {
        key
        for name in SOURCES
        for group in re.findall(r"\\cite\{([^}]+)\}", source(name))
        for key in group.split(",")
    }
    listed = re.findall(r"\\bibitem\{([^}]+)\}", source("references.tex"))
    assert len(listed) == len(set(listed))
    assert cited <= set(listed)
    assert set(listed) - cited <= {"adam", "drgrpo", "rloo"}


def test_the_paper_and_the_library_do_not_import_each_other() -> None:
    """`lint-imports` holds the same; here by the sources alone."""

    def imported(path: Path) -> set[str]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names
        }
        names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        return {name.split(".")[0] for name in names}

    for path in (ROOT / "paper").rglob("*.py"):
        assert "verigap" not in imported(path), path
    for package in ("theory", "fits", "empirical", "verigap"):
        for path in (ROOT / package).rglob("*.py"):
            assert "paper" not in imported(path), path


def test_a_key_that_two_functions_give_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.y: given by one and by two"):
        numbers_tex({"one": {"x.y": "1"}, "two": {"x.y": "2"}})


def test_numbers_print_as_mathematics() -> None:
    assert number(-0.0304, 3) == r"\ensuremath{-}0.030"
    assert number(-0.0004, 3) == "0.000"
    assert signed(0.03, 2) == r"\ensuremath{+}0.03"
    assert interval((0.1, None)) == "--"
    assert interval((-0.1, 0.25), 2) == r"[\ensuremath{-}0.10, 0.25]"


@pytest.mark.skipif(
    shutil.which("latexmk") is None and "CI" not in os.environ, reason="no TeX on this machine"
)
def test_it_compiles_and_no_line_sticks_out(tmp_path: Path) -> None:
    shutil.copytree(ROOT / MANUSCRIPT, tmp_path / "manuscript")
    (tmp_path / "generated").symlink_to(GENERATED)
    done = subprocess.run(
        ["latexmk", "-pdf", "-quiet", "-halt-on-error", "-interaction=nonstopmode", "verigap.tex"],
        cwd=tmp_path / "manuscript",
        capture_output=True,
        text=True,
        check=False,
    )
    log = (tmp_path / "manuscript" / "verigap.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-2000:]
    for fault in ("Overfull", "undefined", "multiply defined"):
        assert fault not in log
