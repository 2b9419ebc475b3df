"""Figures: files that exist, data beside them that are the figure's, nothing loaded until asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fits import InputError, fit_groups, fit_surface, gap_report, parse_selection
from fits.drawing import save
from fits.figures import draw_fits, draw_gap, draw_surface
from fits.fit import group_rows
from tests.builders import matched_runs


def test_the_gap_figure_shows_the_report(tmp_path: Path) -> None:
    report = gap_report(matched_runs(seeds=3), clean=parse_selection(["fpr=0,fnr=0"]))
    beside = save(draw_gap(report), tmp_path / "gap.png")
    assert (tmp_path / "gap.png").stat().st_size > 10_000
    data = pd.read_csv(beside)
    floors = data[data["shows"].str.startswith("floor")].set_index("arm")
    for arm in report.arms:
        assert floors.loc[arm.arm, "gap"] == pytest.approx(arm.floor)
        assert floors.loc[arm.arm, "verdict"] == arm.verdict
        assert (data["arm"] == arm.arm).sum() == len(arm.curve) + 1


def test_the_fit_figure_shows_data_fits_and_asymptotes(tmp_path: Path) -> None:
    frame = matched_runs(seeds=2)
    fits = fit_groups(frame, law="sigmoid")
    drawing = draw_fits(fits, dict(group_rows(frame, None)), x="rollouts")
    beside = save(drawing, tmp_path / "fit.svg")
    data = pd.read_csv(beside)
    assert (data["shows"] == "measured").sum() == len(frame)
    drawn = data[(data["shows"] == "fit") & (data["group"] == "clean")]
    np.testing.assert_allclose(drawn["accuracy"], fits[0].fit.predict(drawn["rollouts"]), atol=1e-9)
    assert (drawn["low"] <= drawn["high"]).all()
    text = (tmp_path / "fit.svg").read_text()
    save(draw_fits(fits, dict(group_rows(frame, None)), x="rollouts"), tmp_path / "again.svg")
    assert len(text) == len((tmp_path / "again.svg").read_text())


def test_unidentified_and_refused_fits_are_drawn_in_words(tmp_path: Path) -> None:
    frame = matched_runs(seeds=1, midpoints=1.0)
    fits = fit_groups(frame, law="sigmoid")
    data = draw_fits(fits, dict(group_rows(frame, None)), x="rollouts").data
    assert data["note"].dropna().str.startswith("unidentified").any()
    last = frame[frame["arm"] != "fn"]
    surface = fit_surface(last, law="quadratic")
    drawing = draw_surface([("all", surface)], {"all": last}, axis="group_size")
    assert set(drawing.data["shows"]) == {"cell", "refused"}
    assert drawing.data["fitted"].isna().all()
    save(drawing, tmp_path / "s.pdf")


def test_the_surface_figure_shows_surface_cells_and_residuals(tmp_path: Path) -> None:
    rows = [
        {"run_id": f"{x}-{d}-{g}-{s}", "fpr": x, "fnr": d, "group_size": g, "seed": s, "step": 1}
        for x in (0.0, 0.2, 0.4)
        for d in (0.0, 0.2, 0.4)
        for g in (8, 32)
        for s in (0, 1)
    ]
    frame = pd.DataFrame(rows)
    rng = np.random.default_rng(0)
    frame["accuracy"] = (
        0.7 - frame["fpr"] ** 2 - 0.5 * frame["fnr"] + 0.02 * np.log2(frame["group_size"])
    ) + rng.normal(0.0, 0.01, len(frame))
    fit = fit_surface(frame, law="quadratic")
    drawing = draw_surface([("all", fit)], {"all": frame}, axis="group_size")
    beside = save(drawing, tmp_path / "surface.png")
    data = pd.read_csv(beside)
    cells = data[data["shows"] == "cell"]
    assert len(cells) == 18
    means = frame.groupby(["fpr", "fnr", "group_size"])["accuracy"].mean().to_numpy()
    order = cells.sort_values(["fpr", "fnr", "group_size"])
    np.testing.assert_allclose(order["measured"], means)
    np.testing.assert_allclose(cells["residual"], cells["measured"] - cells["fitted"], atol=1e-12)
    surface = data[data["shows"] == "surface"]
    corner = surface[(surface["fpr"] == 0.4) & (surface["fnr"] == 0.4)]["fitted"].to_numpy()
    budgets = np.array([8.0, 32.0])
    expected = fit.predict(np.full(2, 0.4), np.full(2, 0.4), budgets)
    np.testing.assert_allclose(np.sort(corner), np.sort(expected), atol=1e-12)


def test_every_setting_has_a_row_of_its_own(tmp_path: Path) -> None:
    first = matched_runs(seeds=2)
    second = first.assign(group_size=32, run_id="large-" + first["run_id"])
    both = pd.concat([first, second], ignore_index=True)
    report = gap_report(both, clean=parse_selection(["arm=clean"]))
    drawing = draw_gap(report)
    titles = [axis.get_title(loc="left") for axis in drawing.figure.axes]
    assert [title for title in titles if title] == ["group_size=8", "group_size=32"]
    assert len(drawing.figure.axes) == 6
    words = [text.get_text() for axis in drawing.figure.axes for text in axis.texts]
    assert sum(word.startswith("fn: ") for word in words) == 2  # the title says the rest
    assert set(drawing.data["arm"]) == {arm.arm for arm in report.arms}
    save(drawing, tmp_path / "rows.pdf")


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    report = gap_report(matched_runs(seeds=2), clean=parse_selection(["arm=clean"]))
    with pytest.raises(InputError, match=r"\.pdf, \.svg, \.png"):
        save(draw_gap(report), tmp_path / "gap.gif")


def test_importing_fits_loads_no_plotting_no_statsmodels_no_torch() -> None:
    code = (
        "import sys, fits, fits.figures, fits.batch, fits.joint\n"
        "bad = [m for m in ('torch', 'matplotlib', 'statsmodels') if m in sys.modules]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_dollar_in_a_name_is_no_mathematics(tmp_path: Path) -> None:
    frame = matched_runs(seeds=2)
    frame["arm"] = frame["arm"].replace({name: f"$J_{{{name}$" for name in frame["arm"].unique()})
    report = gap_report(frame, clean=parse_selection(["fpr=0,fnr=0"]))
    save(draw_gap(report), tmp_path / "gap.svg")
    fits = fit_groups(frame, law="sigmoid")
    save(draw_fits(fits, dict(group_rows(frame, None)), x="rollouts"), tmp_path / "fit.svg")


def many_arms() -> pd.DataFrame:
    """Fifteen noisy arms and a clean one at three seeds; two of them beyond telling right from wrong."""
    rng = np.random.default_rng(2)
    step = np.arange(0, 201, 20)
    rates = [(0.0, 0.0), *((0.05 * k, 0.0) for k in range(1, 14)), (0.5, 0.5), (0.9, 0.9)]
    parts = [
        pd.DataFrame(
            {
                "run_id": f"{fpr:.2f}-{fnr:.2f}-{seed}",
                "fpr": fpr,
                "fnr": fnr,
                "seed": seed,
                "step": step,
                "rollouts": 64 * step,
                "accuracy": 0.3
                + (0.3 - 0.1 * fpr - (0.9 if fpr + fnr >= 1 else 0.0) * 0.3)
                * (1 - np.exp(-step / 50))
                + rng.normal(0, 0.004, len(step)),
            }
        )
        for fpr, fnr in rates
        for seed in range(3)
    ]
    return pd.concat(parts, ignore_index=True)


def test_fifteen_arms_have_a_panel_each_and_whole_intervals(tmp_path: Path) -> None:
    report = gap_report(many_arms(), clean=parse_selection(["fpr=0,fnr=0"]))
    assert len(report.arms) == 15
    drawing = draw_gap(report)
    save(drawing, tmp_path / "many.png")
    named = [axis for axis in drawing.axes if axis.get_ylabel() or axis.lines]
    curves = [axis for axis in named if axis.get_xlabel() != "floor of the gap, 95 %"]
    assert len(curves) == 15
    assert len({axis.get_ylim() for axis in curves}) == 1
    # The scale is that of the arms with J > 0, whose floors and intervals lie inside the axes.
    (floors,) = [axis for axis in named if axis.get_xlabel() == "floor of the gap, 95 %"]
    low, high = floors.get_xlim()
    for arm in report.arms:
        assert arm.fpr is not None
        assert arm.fnr is not None
        if arm.fpr + arm.fnr < 1.0:
            for end in (arm.floor, *(arm.floor_ci or ())):
                assert low < end < high
    largest = max(point.gap for arm in report.arms for point in arm.curve)
    assert curves[0].get_ylim()[1] < largest
    words = {text.get_text() for text in drawing.figure.legends[0].get_texts()}
    assert {arm.verdict for arm in report.arms} <= words
    assert any("δ" in word for word in words)


def test_arms_and_size_may_be_chosen(tmp_path: Path) -> None:
    report = gap_report(matched_runs(seeds=2), clean=parse_selection(["arm=clean"]))
    one = report.arms[0].arm
    drawing = draw_gap(report, arms=[one], size=(4.0, 3.0))
    assert set(drawing.data["arm"]) == {one}
    assert tuple(drawing.figure.get_size_inches()) == (4.0, 3.0)
    with pytest.raises(InputError, match="no arm 'nobody' to draw; there are: "):
        draw_gap(report, arms=["nobody"])
