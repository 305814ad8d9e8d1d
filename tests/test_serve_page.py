"""The page in a real headless Chromium: record, upload, generate, compare, retake, download."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import sing
from needs import CHROMIUM, needs

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")
pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serve_load import running

WAIT_MS = 60_000

pytestmark = [
    needs("chromium"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def server_url(random_bundle_dir, tmp_path_factory) -> Iterator[str]:
    with running(random_bundle_dir, folder=tmp_path_factory.mktemp("served")) as server:
        yield server.url


@pytest.fixture(scope="module")
def song(tmp_path_factory) -> Any:
    path = tmp_path_factory.mktemp("sung") / "my song.wav"
    soundfile.write(path, sing(4.0, 48000), 48000)
    return path


@pytest.fixture(scope="module")
def browser(song) -> Iterator[Browser]:
    fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    args = ["--no-sandbox", *fake, f"--use-file-for-fake-audio-capture={song}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, url: str) -> Iterator[Page]:
    """A new visitor, on the page; a script error or a request to elsewhere fails the test."""
    context = browser.new_context(accept_downloads=True)
    page, wrong = context.new_page(), []
    page.set_default_timeout(WAIT_MS)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: request.url.startswith((url, "blob:", "data:")) or wrong.append(request.url))
    page.goto(url)
    expect(page.locator("#limits")).not_to_be_empty(timeout=WAIT_MS)
    yield page
    context.close()
    assert wrong == []


@pytest.fixture
def page(browser, server_url) -> Iterator[Page]:
    with visit(browser, server_url) as page:
        yield page


def shows(page: Page, selector: str, count: int) -> None:
    expect(page.locator(selector)).to_have_count(count, timeout=WAIT_MS)


def upload(page: Page, song: Any) -> None:
    page.set_input_files("#file", song)
    expect(page.locator("#studio")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#heard")).to_contain_text("bpm", timeout=WAIT_MS)


def make(page: Page, takes: int) -> None:
    before = page.locator(".take").count()
    page.select_option("#takes", str(takes))
    page.click("#make")
    shows(page, ".take", before + takes)
    shows(page, ".job", 0)


def drag(page: Page, start: float, end: float) -> None:
    page.locator("#timeline").scroll_into_view_if_needed()
    box = page.locator("#timeline").bounding_box()
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 90, steps=4)
    page.mouse.up()


def saved(page: Page, click: str, folder: Any) -> Any:
    with page.expect_download() as download:
        page.click(click)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_a_file_chosen_before_the_page_is_ready_is_taken(browser, server_url, song):
    """Its limits, which the page asks for first, come only after the file."""
    context = browser.new_context()
    page, held = context.new_page(), []
    page.route("**/api/about", lambda route: held.append(route))
    with page.expect_request("**/api/about"):
        page.goto(server_url)
    page.set_input_files("#file", song)
    assert not page.locator("#studio").is_visible()
    held.pop().continue_()
    expect(page.locator("#studio")).to_be_visible(timeout=WAIT_MS)
    context.close()


def test_upload_generate_compare_retake_download(page, song, tmp_path):
    upload(page, song)
    expect(page.locator("#vocals")).to_contain_text("my song.wav")
    page.click("#styles button >> nth=1")
    assert "piano" in page.input_value("#prompt")
    make(page, 2)
    expect(page.locator("#slot-A")).to_have_text("A: take 1")
    expect(page.locator("#slot-B")).to_have_text("B: take 2")

    page.uncheck("#snap")
    drag(page, 0.25, 0.5)
    assert float(page.input_value("#from")) == pytest.approx(1.0, abs=0.05)
    assert float(page.input_value("#to")) == pytest.approx(2.0, abs=0.05)
    page.click("#slot-A")
    expect(page.locator("#retake")).to_have_text("Retake this part of take 1")
    page.click("#retake")
    shows(page, ".take", 3)
    expect(page.locator(".take").first).to_contain_text("take 1, with 1.0 to 2.0 s played again", timeout=WAIT_MS)
    expect(page.locator("#slot-B")).to_have_text("B: take 3", timeout=WAIT_MS)

    page.select_option("#format", "flac")
    new = soundfile.read(saved(page, ".take >> nth=0 >> text=Band", tmp_path))[0]
    old = soundfile.read(saved(page, ".take >> nth=2 >> text=Band", tmp_path))[0]
    rate, changed = 24000, np.flatnonzero(old != new)
    assert len(old) == len(new) == 4 * rate and len(changed) > rate / 2
    assert 0.9 * rate < changed[0] and changed[-1] < 2.1 * rate
    mix = saved(page, ".take >> nth=0 >> text=Mix", tmp_path)
    assert mix.name == "my song - take 3 - mix.flac" and len(soundfile.read(mix)[0]) == 4 * rate
    with zipfile.ZipFile(saved(page, "#project", tmp_path)) as archive:
        assert "takes/0003/band.wav" in archive.namelist()


def test_playing_moves_and_takes_swap_in_step(page, song):
    upload(page, song)
    make(page, 2)
    page.check("#loop")  # so that the song does not end under a slow test
    page.click("#play")
    expect(page.locator("#play")).to_have_text("❚❚", timeout=WAIT_MS)
    expect(page.locator("#time")).to_have_text(re.compile("0:0[1-3]"), timeout=WAIT_MS)
    page.click("#slot-A")
    page.keyboard.press("x")
    expect(page.locator("#slot-B")).to_have_attribute("aria-pressed", "true")
    page.click("#solo-voice")
    expect(page.locator("#solo-voice")).to_have_attribute("aria-pressed", "true")
    page.click("#play")
    expect(page.locator("#play")).to_have_text("▶", timeout=WAIT_MS)
    at = page.inner_text("#time")
    page.wait_for_timeout(400)
    assert page.inner_text("#time") == at
    page.locator("#level-band").fill("-12")
    assert "band_db=-12" in page.locator(".take >> nth=0 >> text=Mix").get_attribute("href")


def test_record_in_the_browser(page):
    page.click("#record")
    expect(page.locator("#clock")).to_have_text(re.compile("0:0[2-9]"), timeout=WAIT_MS)
    page.click("#record")
    expect(page.locator("#studio")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#vocals")).to_contain_text("Recording")
    make(page, 1)
    vocal = page.evaluate("fetch('/api/vocals').then((answer) => answer.json())")[0]
    assert vocal["seconds"] > 1.5 and vocal["sample_rate"] == 24000
    assert np.mean(np.asarray(vocal["pitch"]["hz"]) > 0) > 0.3, "what the fake device sings was recorded"


def test_a_tab_that_is_closed_and_opened_again_finds_its_takes(page, song, server_url):
    upload(page, song)
    page.select_option("#takes", "1")
    page.click("#make")
    shows(page, ".job", 1)
    again = page.context.new_page()
    page.close()
    again.goto(server_url)
    shows(again, ".take", 1)
    again.on("dialog", lambda dialog: dialog.accept())
    again.click("#forget")
    expect(again.locator("#intake")).to_be_visible(timeout=WAIT_MS)


def test_wrong_input_is_told_on_the_page(page, song, tmp_path):
    wrong = tmp_path / "notes.wav"
    wrong.write_text("la la la")
    page.set_input_files("#file", wrong)
    expect(page.locator("#toast")).to_contain_text("Cannot read notes.wav as audio", timeout=WAIT_MS)
    upload(page, song)
    page.click("summary")
    page.fill("#seed", "99999999999999999999")
    page.click("#make")
    expect(page.locator("#toast")).to_contain_text("seed", timeout=WAIT_MS)
    shows(page, ".job", 0)


def test_a_song_is_sent_and_its_voice_is_taken_out(page, song):
    pytest.importorskip("demucs")
    page.check("#song")
    upload(page, song)
    page.click("#another")
    page.uncheck("#song")
    upload(page, song)
    cover, plain = page.evaluate("fetch('/api/vocals').then((answer) => answer.json())")
    assert cover["waveform"] != plain["waveform"] and cover["seconds"] == plain["seconds"]


def test_a_take_with_stems_has_faders(browser, song, stem_bundle_dir, tmp_path):
    with running(stem_bundle_dir, folder=tmp_path) as server, visit(browser, server.url) as page:
        upload(page, song)
        expect(page.locator("#stems")).to_be_hidden()
        page.fill("#prompt", "warm, no bass")
        make(page, 1)
        expect(page.locator("#stems")).to_be_visible(timeout=WAIT_MS)
        expect(page.locator("#level-bass")).to_be_disabled()
        links = [link.strip("↓ ") for link in page.locator(".take a").all_inner_texts()]
        assert links[:4] == ["Mix", "Band", "Drums", "Other"]
        page.click("#play")
        expect(page.locator("#play")).to_have_text("❚❚", timeout=WAIT_MS)
        page.locator("#mute-drums").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Mute the drums")).to_have_attribute("aria-pressed", "true")
        page.get_by_role("slider", name="Level of all else in dB").fill("-6")
        mix = page.locator(".take >> nth=0 >> text=Mix").get_attribute("href")
        assert "drums_db=-60" in mix and "other_db=-6" in mix and "bass_db" not in mix
        drums = soundfile.read(saved(page, ".take a:has-text('Drums')", tmp_path))[0]
        assert len(drums) == 4 * 8000 and drums.any()
