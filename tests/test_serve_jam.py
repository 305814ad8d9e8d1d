"""The page in a real headless Chromium: grids and readings, taps, jams, languages, keys, names for screen readers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from needs import needs

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")
pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page, expect
from test_serve_page import WAIT_MS, browser, make, page, server_url, shows, song, upload  # noqa: F401

pytestmark = [needs("chromium"), pytest.mark.timeout(600)]

MOST_LATENCY_MS = 1500
MOST_BUSY = 0.6


def take(page: Page, newest: int = 0) -> Any:  # noqa: F811
    vocal = page.evaluate("fetch('/api/vocals').then((answer) => answer.json())")[0]
    return sorted(vocal["takes"], key=lambda each: -each["number"])[newest]


def again(page: Page, press: str) -> tuple[Any, Any]:  # noqa: F811
    """The take that a press makes, and the one before it."""
    count = page.locator(".take").count()
    page.click(press)
    shows(page, ".take", count + 1)
    shows(page, ".job", 0)
    return take(page), take(page, 1)


def test_the_grid_is_shifted_halved_and_doubled(page, song):  # noqa: F811
    upload(page, song)
    make(page, 1)
    later, first = again(page, "#grid button:has-text('Half a beat later')")
    beats, before = (np.array(each["plan"]["beats_s"]) for each in (later, first))
    middles = (before[1:] + before[:-1]) / 2
    assert np.abs(beats[:, None] - middles[1:-1]).min(axis=0).max() < 0.01
    assert (later["seed"], later["prompt"]) == (first["seed"], first["prompt"])
    changes = [("Twice the tempo", 2.0), ("Half the tempo", 0.5)]
    for words, factor in changes[:: 1 if later["plan"]["tempo_bpm"] < 120 else -1]:
        made, old = again(page, f"#grid button:has-text('{words}')")
        assert made["plan"]["tempo_bpm"] == pytest.approx(factor * old["plan"]["tempo_bpm"], rel=0.03)
    changed = (
        "grid.plan = () => ({ beats_s: [0, 0.21, 0.42, 0.63, 0.84], downbeats_s: [0], readings: [], reading: 1 });"
    )
    disabled = page.evaluate(
        """async () => {
            const { GridControls } = await import("/grid.js");
            const grid = new GridControls(document.createElement("div"), { vocal: () => null });
            CHANGED grid.show();
            return [...grid.box.querySelectorAll("button")].map((each) => each.disabled);
        }""".replace("CHANGED", changed)
    )
    assert disabled == [False, False, True, False], "twice 286 beats a minute is no tempo"


def test_another_reading_is_one_press(page, song):  # noqa: F811
    upload(page, song)
    make(page, 1)
    chip = page.locator("#grid [data-reading]").first
    expect(chip).to_have_text(re.compile("%"))
    number = int(chip.get_attribute("data-reading"))
    made, _ = again(page, f"#grid [data-reading='{number}']")
    assert made["plan"]["reading"] == made["reading"] == number


def test_four_taps_set_the_grid(page, song):  # noqa: F811
    upload(page, song)
    page.check("#loop")
    page.click("#tap")
    expect(page.locator("#tapping")).to_contain_text("0 of 4")
    expect(page.locator("#play")).to_have_text("❚❚", timeout=WAIT_MS)
    page.keyboard.press("Escape")
    shows(page, "#tapping", 0)
    page.click("#play")
    count = page.evaluate(
        """async () => {
            const { gridOfTaps } = await import("/grid.js");
            const beats = Array.from({ length: 21 }, (_, i) => 0.2 + 0.61 * i);
            const plan = { beats_s: beats, downbeats_s: beats.filter((_, i) => i % 4 === 0) };
            const near = (values) => values.map((value, i) => value + [0.03, -0.02, 0.01, -0.03][i]);
            return {
                on: gridOfTaps(near(beats.slice(6, 10)), plan),
                off: gridOfTaps(near(beats.slice(6, 10)).map((beat) => beat + 0.305), plan),
                alone: gridOfTaps([1, 1.37, 1.74, 2.11], plan),
                waltz: gridOfTaps(beats.slice(6, 10), { ...plan, beats_per_bar: 3 }),
            };
        }"""
    )
    assert count["on"][:2] == pytest.approx([0.2 + 0.61 * 2, 0.2 + 0.61 * 3], abs=1e-3), (
        "every fourth from the first tap"
    )
    assert count["off"][0] == pytest.approx(0.2 + 0.61 * 2.5, abs=1e-3)
    assert count["waltz"][0] == pytest.approx(0.2, abs=1e-3), "every third from the first tap"
    assert count["alone"] == [1, 1.37, 1.74, 2.11]
    page.click("#tap")
    page.evaluate(
        """async () => {
            for (let i = 0; i < 4; i++) {
                document.body.dispatchEvent(new KeyboardEvent("keydown", { key: " ", bubbles: true }));
                await new Promise((resolve) => setTimeout(resolve, 600));
            }
        }"""
    )
    expect(page.locator(".take, #toast:visible")).not_to_have_count(0, timeout=WAIT_MS)
    if page.locator(".take").count():  # a slow machine may tap unevenly
        assert 60 < take(page)["plan"]["tempo_bpm"] < 220


def test_a_jam_counts_in_and_loops_without_gaps_while_takes_are_made(page, song, record_property):  # noqa: F811
    upload(page, song)
    make(page, 1)
    page.evaluate(
        """() => {
            window.busy_ms = 0;
            new PerformanceObserver((list) => list.getEntries().forEach((each) => (window.busy_ms += each.duration)))
                .observe({ type: "longtask" });
            window.began = performance.now();
        }"""
    )
    page.click("#jam")
    expect(page.locator("#jam")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#time")).to_have_text(re.compile(r"0:0[1-3]"), timeout=WAIT_MS)
    shows(page, ".take", 2)
    page.wait_for_timeout(300)
    starts = page.evaluate("performance.getEntriesByName('track starts').length")
    page.wait_for_function("() => document.querySelector('#time').textContent < '0:00.5'", timeout=WAIT_MS)
    passes = page.evaluate("performance.getEntriesByName('track starts').length") - starts
    assert passes <= 2, "a loop goes round in the source itself; only new takes start"
    latency_ms, busy = page.evaluate(
        "() => [performance.getEntriesByName('jam latency')[0].duration,"
        " window.busy_ms / (performance.now() - window.began)]"
    )
    record_property("latency_ms", latency_ms)
    record_property("busy", busy)
    assert latency_ms < MOST_LATENCY_MS and busy < MOST_BUSY
    page.click("#jam")
    expect(page.locator("#play")).to_have_text("▶", timeout=WAIT_MS)
    expect(page.locator("#jam")).to_have_text("Jam")


@pytest.mark.parametrize(
    ("locale", "language", "make_"),
    [("ko-KR", "ko", "밴드 연주 만들기"), ("zh-CN", "zh", "生成伴奏"), ("fr-FR", "en", "Make the band")],
)
def test_the_page_speaks_the_language_of_the_browser(browser: Browser, server_url, song, locale, language, make_):  # noqa: F811
    context = browser.new_context(locale=locale)
    page = context.new_page()  # noqa: F811
    page.goto(server_url)
    expect(page.locator("html")).to_have_attribute("lang", language, timeout=WAIT_MS)
    upload(page, song)
    expect(page.locator("#make")).to_have_text(make_, timeout=WAIT_MS)
    page.fill("#prompt", "solo piano")
    page.select_option("#language", "ko" if language != "ko" else "zh")
    expect(page.locator("#make")).not_to_have_text(make_)
    assert page.input_value("#prompt") == "solo piano"
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "ko" if language != "ko" else "zh", timeout=WAIT_MS)
    context.close()


def test_the_keyboard_alone_is_enough(page, song):  # noqa: F811
    upload(page, song)
    page.locator("#prompt").focus()
    page.keyboard.type("piano")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "make":
            break
    page.select_option("#takes", "1")
    page.keyboard.press("Enter")
    shows(page, ".take", 1)
    shows(page, ".job", 0)
    page.uncheck("#snap")
    page.locator("#timeline").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("[")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("]")
    assert [float(page.input_value(end)) for end in ("#from", "#to")] == pytest.approx([1.0, 2.0], abs=0.05)
    page.keyboard.press("Home")
    assert page.locator("#timeline").get_attribute("aria-valuenow") == "0.0"
    page.locator("#retake").focus()
    page.keyboard.press("Enter")
    shows(page, ".take", 2)
    unseen = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, textarea, [tabindex]")]
            .filter((each) => each.offsetParent && each.tabIndex < 0).map((each) => each.outerHTML)"""
    )
    assert unseen == []


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_a_screen_reader_finds_names_and_contrasts(page, song, theme, width):  # noqa: F811
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs pip install axe-playwright-python")
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 800})
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}

    def check() -> None:
        found = axe.Axe().run(page, options=options).response["violations"]
        serious = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found
                   if each["impact"] in ("serious", "critical")]  # fmt: skip
        assert serious == []

    check()
    upload(page, song)
    make(page, 1)
    page.locator("#timeline").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("[")
    page.click("summary")
    check()
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if theme == "light" else "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    names = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, textarea, canvas[role]")]
            .filter((each) => each.offsetParent && !each.textContent.trim() && !each.labels?.length
                && !each.getAttribute("aria-label")).map((each) => each.outerHTML)"""
    )
    assert names == [], "every control has a name"
