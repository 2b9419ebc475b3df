"""Outputs appear whole or not at all; YAML means one thing; what cannot be written is said in one line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fits.errors import InputError
from fits.files import check_target, load_yaml, replacing, write_text


def test_an_output_replaces_the_old_one_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.txt"
    write_text(path, "old")

    def stop_halfway() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_halfway()
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [child.name for child in path.parent.iterdir()] == ["out.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_mode_is_what_the_umask_says(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "out.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.txt").stat().st_mode) == 0o666 & ~mask


def test_a_target_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep me")
    for path, part in (
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "x.json", "is a file"),
        (Path(os.devnull), "no regular file"),
    ):
        with pytest.raises(InputError, match=part):
            check_target(path)
        with pytest.raises(InputError, match=part):
            write_text(path, "x")
    check_target(tmp_path / "not" / "there" / "yet.json")
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_what_the_file_system_refuses_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    with pytest.raises(InputError, match=r"xxx.*cannot be written"):
        write_text(path, "x")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: 1\nb: 2\na: 3", "y.yaml, line 3: .*'a' is given twice"),
        ("a: {b: 1, b: 1}", "'b' is given twice"),
        ("a: [1, 2", "y.yaml, line 1: not valid YAML"),
        ("[" * 5000, "y.yaml, line 1: not valid YAML: nested more than 64 levels deep"),
        ("a: " + "9" * 5000, "y.yaml, line 1: not valid YAML: a number of 5,000 characters"),
        ("{[1]: 2}", "y.yaml"),
    ],
)
def test_yaml_that_is_refused(text: str, part: str) -> None:
    with pytest.raises(InputError, match=part):
        load_yaml(text, source="y.yaml")


def test_yaml_that_is_read() -> None:
    assert load_yaml("a: &x {b: 1}\nc: {<<: *x, d: .5}", source="y") == {
        "a": {"b": 1},
        "c": {"b": 1, "d": 0.5},
    }


@pytest.mark.parametrize("text", ["1e-5", "1E5", "+2e3", "-.5e1", "3.e-2"])
def test_exponents_without_a_point_are_numbers(text: str) -> None:
    """PyYAML reads 1e-5, the way everybody writes a learning rate, as text."""
    assert load_yaml(f"x: {text}", source="s") == {"x": float(text)}
    assert load_yaml("x: 1e5f", source="s") == {"x": "1e5f"}
