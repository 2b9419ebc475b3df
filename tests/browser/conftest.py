"""A headless Chromium. Where there is none these tests are skipped, and in CI that fails."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from verigap.pages.layout import QUIET, browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = browser()
    if program is None:
        message = "no Chromium on the PATH (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=program, args=list(QUIET))
        yield launched
        launched.close()
