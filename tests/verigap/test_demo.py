"""The demo: a verdict per arm from the committed runs, in an empty directory, from a built wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.verigap.command import Done, verigap
from tests.verigap.test_packaging import ROOT

VERDICTS = {"closes", "persists", "undetermined"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    out = tmp_path_factory.mktemp("demo") / "out"
    return verigap("demo", "--out", out, "--json"), out


def test_prints_a_verdict_per_arm_and_the_report(demo: tuple[Done, Path]) -> None:
    done, out = demo
    assert done.code == 0, done.err
    document = done.document
    assert {arm["arm"] for arm in document["arms"]} == {"fpr0.4", "fnr0.4"}
    for arm in document["arms"]:
        assert {arm["verdict"], arm["simulated_verdict"]} <= VERDICTS
        assert (arm["floor_ci"] is None) or arm["floor_ci"][0] <= arm["floor"] <= arm["floor_ci"][1]
    assert Path(document["report"]) == out / "report.html"


def test_the_report_shows_every_arm_and_five_figures(demo: tuple[Done, Path]) -> None:
    _, out = demo
    text = (out / "report.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == 5
    for arm in ("clean", "fpr0.4", "fnr0.4"):
        assert arm in text
    assert "nan" not in text.lower().replace("finance", "")


def test_its_tables_are_run_tables(demo: tuple[Done, Path]) -> None:
    """What the report was drawn from can be fitted again."""
    _, out = demo
    for kind in ("measured", "simulated"):
        done = verigap("gap", out / kind / "runs.csv", "--json")
        assert done.code == 0, done.err
        assert {arm["arm"] for arm in done.document["arms"]} == {"fpr0.4", "fnr0.4"}


def test_same_numbers_on_a_second_run(demo: tuple[Done, Path], tmp_path: Path) -> None:
    first, _ = demo
    second = verigap("demo", "--out", tmp_path / "again", "--json")
    assert first.document | {"report": ""} == second.document | {"report": ""}


def test_runs_from_a_built_wheel_in_an_empty_directory_without_torch(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "--target",
            "wheel",
            "--directory",
            tmp_path / "dist",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'transformers', 'trl'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import theory, verigap.cli\n"
        f"assert theory.__file__.startswith({str(site)!r})\n"
        "sys.argv = ['verigap', 'demo', '--json']\n"
        "verigap.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=empty, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(document["arms"]) == 2
    assert (empty / document["report"]).is_file()
    assert {path.name for path in empty.iterdir()} == {"verigap-demo"}
