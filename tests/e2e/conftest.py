"""A real browser at a running system."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.stories.conftest import System

PATIENCE_MILLISECONDS = 15_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium as the machine has it. Module scope: while it runs no other test may run a loop in this thread."""
    program = shutil.which("chromium")
    if program is None:
        message = "there is no chromium on this machine (on Debian: apt-get install chromium)"
        if os.environ.get("CI"):  # which installs one, see .ci/run
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root, and no page but ours is opened.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser, system: System) -> Iterator[BrowserContext]:
    """A browser that has never been here, and may reach nothing but the system."""
    made = chromium.new_context(base_url=str(system.api.base_url))
    made.set_default_timeout(PATIENCE_MILLISECONDS)
    made.route(lambda url: not url.startswith(str(system.api.base_url)), lambda route: route.abort())
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()
