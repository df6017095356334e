"""The report in headless Chromium: no errors, nothing cut off, on a phone and on a desk."""

import shutil
from pathlib import Path

import pytest

from mae_bench.results.html_report import write_report
from mae_bench.results.record import write_record

pytestmark = pytest.mark.slow
SIZES = {"phone": (375, 700), "desk": (1280, 900)}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    own = next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as driver:
        try:
            opened = driver.chromium.launch(executable_path=own, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium on this machine: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture
def report(work_dir, coco_run) -> Path:
    for seed, box in ((0, 0.49), (1, 0.50)):
        write_record(coco_run(box, seed=seed), work_dir / f"coco/{seed}/record.json")
    return write_report(work_dir, work_dir / "report.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_page(browser, report, size, scheme):
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.goto(report.as_uri())
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector, count in (("table", 3), ("figure svg", 7), ("figure img", 5)):
        found = page.locator(selector)
        assert found.count() == count
        for index in range(count):
            box = found.nth(index).bounding_box()
            assert box and box["width"] > 100 and box["height"] > 50
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
    assert dark == (scheme == "dark")
    # the first key leads past the navigation, and what has the focus shows it
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    # a number leads to its record
    page.locator("table a[href='#run-seed0-MAE-finetune']").first.click()
    assert page.locator("article:target").inner_text().startswith("seed0/MAE/finetune")
    context.close()
