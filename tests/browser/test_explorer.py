"""The explorer's sliders say what the library says, at settings nobody chose beforehand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

import verigap as vg
from empirical import explorer as explored
from tests.browser.test_report import BEYOND
from tests.builders import flow_runs
from theory import VerifierChannel
from theory.effective_rollouts import effective_rollouts

SETTINGS = 50
SIZES = (
    8,
    64,
)  # of all five: what a page says of one size is nothing to another, and harm is steepest at 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explored, "SIZES", SIZES)
        done = vg.report(flow_runs(seeds=1), law="exponential", explorer=True)
    return done.write(tmp_path_factory.mktemp("explorer") / "page.html"), done


@pytest.fixture(scope="module")
def page(chromium: Browser, made: tuple[Path, Any]) -> Any:
    opened = chromium.new_page(viewport={"width": 1400, "height": 900})
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(made[0].as_uri())
    yield opened
    opened.close()
    assert wrong == []


def said(page: Page, name: str) -> str:
    return page.locator(f"[data-says={name}]").get_attribute("data-value") or ""


def move(page: Page, name: str, value: float) -> None:
    page.locator(f"input[type=range][data-of={name}]").fill(f"{value:.10g}")


MOVED = """([values, optimiser]) => {
  for (const [name, value] of Object.entries(values)) {
    const slider = document.querySelector(`input[type=range][data-of=${name}]`);
    slider.value = value;
    slider.dispatchEvent(new Event("input", {bubbles: true}));
  }
  document.querySelector(`input[value=${optimiser}]`).click();
  const says = (name) => Number(document.querySelector(`[data-says=${name}]`).dataset.value);
  return [says("worth"), says("accuracy")];
}"""


def moved(page: Page, optimiser: str, **values: float) -> tuple[float, float]:
    """What is shown once all sliders were moved, one after another, in one call of the browser."""
    asked = {name: f"{v:.10g}" for name, v in values.items()}
    worth, accuracy = page.evaluate(MOVED, [asked, optimiser])
    return worth, accuracy


def test_moved_sliders_show_what_the_library_says(page: Page, made: tuple[Path, Any]) -> None:
    path, done = made
    assert path.stat().st_size < 3_000_000
    assert "bands are 95 % over seeds" not in path.read_text()  # of one seed there are none
    explorer = done.explorer
    rng = np.random.default_rng(19)
    rows: list[dict[str, Any]] = []
    shown: list[float] = []
    for _ in range(SETTINGS):
        fpr, fnr = (float(v) for v in 0.005 * rng.integers(0, 101, 2))
        size = int(rng.choice(SIZES))
        rate = float(0.01 * rng.integers(1, 100))
        shared = float(0.05 * rng.integers(0, 21))
        step = float(rng.uniform(0.0, explorer.steps[-1]))
        optimiser = str(rng.choice(list(explorer.surfaces)))
        worth, accuracy = moved(
            page,
            optimiser,
            fpr=fpr,
            fnr=fnr,
            rate=rate,
            shared=shared,
            rollouts=SIZES.index(size),
            steps=step,
        )
        known = effective_rollouts(rate, VerifierChannel(fpr, fnr), size, correlation=shared)
        assert worth == pytest.approx(float(known), abs=1e-3)
        shown.append(accuracy)
        rows.append({"fpr": fpr, "fnr": fnr, "group_size": size, "step": step, "by": optimiser})
    asked = pd.DataFrame(rows)
    for name, part in asked.groupby("by"):
        forecast = explorer.calibrations[str(name)].forecast(part.drop(columns="by"))
        error = np.abs(np.array(shown)[part.index] - forecast.accuracy)
        assert error.max() < 0.005


def test_its_state_is_in_the_url(page: Page, made: tuple[Path, Any], chromium: Browser) -> None:
    move(page, "fpr", 0.2)
    move(page, "fnr", 0.05)
    page.locator("input[value=sgd]").check()
    other = chromium.new_page()
    other.goto(page.url)
    for name in ("worth", "accuracy", "lost", "error", "price"):
        assert said(other, name) == said(page, name)
    # A link within the page takes its place in the address, and it comes back, so that a reload keeps it.
    worth = said(page, "worth")
    page.locator("nav a[href='#made']").click()
    page.wait_for_function("location.hash.includes('fpr=0.2')")
    page.reload()
    assert said(page, "worth") == worth
    # What an address asks for beyond the tables is cut to them, and what is no number ignored.
    other.goto(f"{made[0].as_uri()}#fpr=7&fnr=x&rollouts=3&optimiser=none")
    assert "Infinity" not in other.locator("#explorer").inner_text()
    assert other.locator("[data-of=fpr]").input_value() == "0.5"
    other.close()


def test_the_error_that_matters_more_and_the_price(page: Page) -> None:
    page.get_by_role("button", name="reset").click()
    move(page, "fpr", 0)
    move(page, "fnr", 0)
    assert float(said(page, "price")) == 1.0
    assert float(said(page, "lost")) == pytest.approx(0.0, abs=1e-12)
    move(page, "fpr", 0.2)
    move(page, "fnr", 0.2)
    move(page, "rate", 0.1)
    assert said(page, "error") == "false positives"
    move(page, "rate", 0.9)
    assert said(page, "error") == "false negatives"
    assert re.search(r"times the steps|not within", page.locator("[data-says=price]").inner_text())


def test_the_chart_follows_sliders_colours_and_width(page: Page) -> None:
    canvas = page.locator("#explorer .plot canvas")

    def drawn() -> str:
        page.wait_for_timeout(60)
        return canvas.evaluate("(canvas) => canvas.toDataURL()")

    page.get_by_role("button", name="reset").click()
    before = drawn()
    move(page, "fpr", 0.3)
    assert drawn() != before
    page.get_by_role("button", name="reset").click()
    assert drawn() == before
    page.emulate_media(color_scheme="dark")
    assert drawn() != before
    page.emulate_media(color_scheme="light")
    assert drawn() == before
    wide = canvas.bounding_box()
    page.set_viewport_size({"width": 600, "height": 900})
    page.wait_for_timeout(60)
    narrow = canvas.bounding_box()
    page.set_viewport_size({"width": 1400, "height": 900})
    assert wide is not None
    assert narrow is not None
    assert narrow["width"] < 600 < wide["width"]


def test_a_phone_and_axe(made: tuple[Path, Any], chromium: Browser) -> None:
    phone = chromium.new_page(viewport={"width": 390, "height": 800})
    phone.goto(made[0].as_uri())
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.evaluate(BEYOND) == []
    found = Axe().run(phone).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    phone.close()
