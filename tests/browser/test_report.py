"""The report in a browser: read by pointer and keyboard, in the dark, on paper, on a phone, without scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

import verigap as vg
from tests.builders import matched_runs

NASTY = "<script>document.title='gone'</script>"
PHONES = (390, 320)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A page of three noisy arms, one with a name that would like to be a script, at one of two group sizes each."""
    folder = tmp_path_factory.mktemp("page")
    frame = matched_runs(seeds=3, evaluations=6)
    frame["arm"] = frame["arm"].replace({"fn": NASTY})
    frame["run_id"] = frame["arm"] + "-" + frame["seed"].astype(str)
    audit = {"fpr": 0.1, "fpr_ci": [0.05, 0.2], "fnr": 0.2, "fnr_ci": None, "youden": 0.7}
    audit |= {"youden_ci": [0.6, 0.8], "effective_rollouts": 4.4, "effective_rollouts_ci": [3, 5]}
    audit |= {"clusters": 10, "segments": [], "n": 100, "assumptions": ["labels are right"]}
    (folder / "audit.json").write_text(json.dumps(audit))
    done = vg.report(frame, law="exponential", beside=folder / "audit.json")
    return done.write(folder / "report.html"), done


Open = Callable[..., Page]


@pytest.fixture(scope="module")
def kept() -> Iterator[tuple[dict[Any, Page], list[str]]]:
    """Pages, since to load one anew costs less than to open one, and what went wrong in any of them."""
    pages: dict[Any, Page] = {}
    yield pages, []
    for page in pages.values():
        page.context.close()


@pytest.fixture
def opened(
    chromium: Browser, made: tuple[Path, Any], kept: tuple[dict[Any, Page], list[str]]
) -> Any:
    """Open the page as nobody touched it; errors of its script, and anything it would load, fail the test."""
    pages, wrong = kept

    def open_(
        width: int = 1400, *, dark: bool = False, script: bool = True, path: Path | None = None
    ) -> Page:
        scheme = "dark" if dark else "light"
        if (width, dark, script) not in pages:
            context = chromium.new_context(
                viewport={"width": width, "height": 900},
                java_script_enabled=script,
                is_mobile=width < 500,
            )
            page = pages[width, dark, script] = context.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on(
                "request",
                lambda request: (
                    wrong.append(request.url) if not request.url.startswith("file:") else None
                ),
            )
        page = pages[width, dark, script]
        page.emulate_media(media="null", color_scheme=scheme)
        page.goto((path or made[0]).as_uri())
        return page

    wrong.clear()
    yield open_
    assert wrong == []


def curve(made: tuple[Path, Any], name: str) -> list[dict[str, Any]]:
    (arm,) = (arm for arm in made[1].plain()["gap"]["arms"] if arm["arm"] == name)
    return arm["curve"]


def values(page: Page) -> dict[str, str]:
    return {
        item.locator(".name").inner_text(): item.locator(".value").inner_text()
        for item in page.locator(".key button").all()
    }


def test_the_pointer_reads_the_values_that_gap_gives(opened: Open, made: tuple[Path, Any]) -> None:
    page = opened()
    seen = set()
    page.locator(".plot").scroll_into_view_if_needed()
    box = page.locator(".u-over").bounding_box()
    assert box is not None
    for share in (0.02, 0.5, 0.98):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        at = page.locator(".at").inner_text()
        seen.add(at)
        x = float(at.split()[-1].replace(",", ""))
        for arm in ("fp", NASTY):
            (point,) = (one for one in curve(made, arm) if one["x"] == x)
            told = values(page)[arm].replace("\u2212", "-")
            assert told == f"{point['gap']:+.4f}"
    assert len(seen) == 3


def test_the_keyboard_reads_the_values_too(opened: Open, made: tuple[Path, Any]) -> None:
    page = opened()
    page.locator(".plot").focus()
    points = curve(made, "fp")
    for key, at in (
        ("Home", 0),
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", -1),
    ):
        page.keyboard.press(key)
        assert page.locator(".at").inner_text() == f"at rollouts {points[at]['x']:,.0f}"
    assert page.locator(".at").get_attribute("aria-live") == "polite"


def shot(page: Page) -> str:
    """What is drawn in the chart."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(60)
    return page.locator(".plot canvas").evaluate("(canvas) => canvas.toDataURL()")


def test_curves_are_hidden_and_shown_by_pointer_and_key(opened: Open) -> None:
    page = opened()
    before = shot(page)
    button = page.locator(".key button").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert shot(page) != before
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert shot(page) == before
    page.get_by_role("button", name="none", exact=True).click()
    assert {one.get_attribute("aria-pressed") for one in page.locator(".key button").all()} == {
        "false"
    }
    page.get_by_role("button", name="all", exact=True).click()
    assert shot(page) == before


BAND = """() => {
  const plot = document.querySelector(".plot canvas");
  const { data } = plot.getContext("2d").getImageData(0, 0, plot.width, plot.height);
  let count = 0;  // of what is drawn at three tenths
  for (let at = 3; at < data.length; at += 4) count += Math.abs(data[at] - 77) < 3;
  return count;
}"""


def test_of_many_curves_the_one_in_hand_has_its_band(opened: Open, tmp_path: Path) -> None:
    frame = matched_runs(seeds=3, evaluations=4)
    more = [
        frame[frame["arm"] == "fp"].assign(
            arm=f"fp{k}", run_id=lambda rows, k=k: rows["run_id"] + str(k)
        )
        for k in range(5)
    ]
    done = vg.report(pd.concat([frame, *more]), law="exponential")
    assert "of more than 6 arms, of the one pointed at" in done.html()
    page = opened(path=done.write(tmp_path / "many.html"))
    page.mouse.move(0, 0)
    alone = page.evaluate(BAND)
    page.locator(".key button").nth(1).hover()
    page.wait_for_timeout(60)
    assert page.evaluate(BAND) > alone + 1000
    page.mouse.move(0, 0)
    page.wait_for_timeout(60)
    assert page.evaluate(BAND) == alone
    page.locator(".key button").nth(1).focus()
    page.wait_for_timeout(60)
    assert page.evaluate(BAND) > alone + 1000


def test_who_reads_at_the_end_reads_at_the_end_of_another_setting(
    opened: Open, tmp_path: Path
) -> None:
    large = matched_runs(seeds=2, evaluations=4)
    small = large.assign(group_size=4, rollouts=large["rollouts"] / 2)
    small["run_id"] += "-4"
    done = vg.report(pd.concat([large, small], ignore_index=True), law="exponential")
    page = opened(path=done.write(tmp_path / "report.html"))
    chosen = page.locator(".tools select").first
    ends = []
    for at in (0, 1, 0):
        chosen.select_option(str(at))
        ends.append(float(page.locator(".at").first.inner_text().split()[-1].replace(",", "")))
    assert ends[0] == ends[2]
    assert sorted(ends[:2]) == [small["rollouts"].max(), large["rollouts"].max()]


def test_the_axis_and_what_is_shown_are_chosen(opened: Open, made: tuple[Path, Any]) -> None:
    page = opened()
    linear = shot(page)
    page.get_by_label("log").check()
    assert shot(page) != linear
    page.get_by_label("linear").check()
    assert shot(page) == linear
    page.get_by_label("accuracy", exact=True).check()
    last = curve(made, "fp")[-1]
    told = values(page)
    assert told["fp"] == f"{last['accuracy']:.4f}"
    assert told["clean"] == f"{last['accuracy'] + last['gap']:.4f}"


def test_the_dark_page_is_dark_and_its_figures_too(opened: Open) -> None:
    light, dark = opened(), opened(dark=True)
    shades = []
    for page in (light, dark):
        told = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades.append(sum(int(part) for part in told[4:-1].split(",")))
    assert shades[0] > 700 > 150 > shades[1]
    assert shot(light) != shot(dark)
    light.emulate_media(color_scheme="dark")
    assert shot(light) == shot(dark)


def test_paper_and_readers_without_scripts_see_pictures(opened: Open) -> None:
    page = opened()
    assert not page.locator(".static svg").first.is_visible()
    page.emulate_media(media="print")
    plain = opened(script=False)
    for one in (page, plain):
        assert one.locator(".static svg").first.is_visible()
        assert not one.locator(".interactive").first.is_visible()
    assert page.locator("details dl").first.is_visible()  # what is folded is printed
    assert page.pdf()[:5] == b"%PDF-"


BEYOND = """() => {
  const width = document.documentElement.clientWidth, found = [];
  for (const one of document.querySelectorAll("body *")) {
    const box = one.getBoundingClientRect();
    if (!box.width || !box.height || one.closest("thead, .skip, .u-under, svg, details:not([open]) > :not(summary)")) continue;
    if (box.right > width + 1 || box.left < -1) found.push(`${one.tagName}.${one.className} ${box.left} ${box.right}`);
    if (getComputedStyle(one).overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1) found.push(`clipped ${one.tagName}.${one.className}`);
  }
  return found;
}"""


@pytest.mark.parametrize("width", PHONES)
def test_a_phone_shows_all_of_it_without_scrolling_sideways(opened: Open, width: int) -> None:
    page = opened(width)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(BEYOND) == []
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (390, False)])
def test_axe_finds_nothing_serious(opened: Open, width: int, dark: bool) -> None:
    page = opened(width, dark=dark)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:160] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_a_script_in_a_name_is_text(opened: Open) -> None:
    page = opened()
    assert page.title().startswith("What the verifier costs")
    assert page.locator("th", has_text=NASTY).count() > 0
