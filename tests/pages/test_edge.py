"""Lesson 25's page works in a real browser, from a folder, with the network cut; and the build notices a stale one."""

import base64
import gzip
import json

import numpy as np
import pytest
from playwright.sync_api import expect

from course_lib import data, models
from course_lib.ops import reach
from tests.pages.browser import browser, watched
from tools import edge

ADDRESS = edge.PAGE.as_uri()
READY_MS = 60_000


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


def draw(page, points) -> None:
    """Draws a line with the mouse through these points of the pad, 0 to 1."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def answered(page, word: str) -> str:
    answer = page.locator("#answer")
    expect(answer).to_contain_text(word, timeout=READY_MS)  # wait_for_function would need the policy's unsafe-eval
    return answer.text_content()


LOOKS = {
    "wide and light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "narrow and dark": {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark"},
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_drawn_digit_is_read_offline(chromium, look):
    with watched(chromium, offline=True, **LOOKS[look]) as (page, wrong):
        page.goto(ADDRESS)
        draw(page, [(0.5, 0.1), (0.5, 0.5), (0.5, 0.9)])
        assert " is read as 1: " in answered(page, "Your drawing")
        page.get_by_label("int8").check()
        page.wait_for_timeout(200)
        assert " is read as 1: " in answered(page, "Your drawing")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert wrong == []


def test_without_a_mouse_a_test_image_is_read(chromium):
    with watched(chromium, offline=True) as (page, wrong):
        page.goto(ADDRESS)
        page.locator("#which").focus()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("7")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        label = data.digits()[1].labels[6]
        assert f" is read as {label}: " in answered(page, "Test image 7")
        assert wrong == []


def test_a_tap_leaves_a_dot_and_is_answered(chromium):
    with watched(chromium, offline=True) as (page, wrong):
        page.goto(ADDRESS)
        page.locator("#pad").click()
        answered(page, "Your drawing")
        dark = """[...document.querySelector('#pad').getContext('2d').getImageData(0, 0, 224, 224).data]
            .filter((value, i) => i % 4 === 0 && value < 128).length"""
        assert 50 < page.evaluate(dark) < 400
        assert wrong == []


def test_in_a_frame_without_scripts_the_page_says_so(chromium, tmp_path):
    around = tmp_path / "around.html"  # as JupyterLab shows a page that it does not trust yet
    around.write_text(f'<iframe sandbox src="{ADDRESS}"></iframe>', encoding="utf-8")
    with watched(chromium, offline=True) as (page, _):
        page.goto(around.as_uri())
        expect(page.frame_locator("iframe").locator("#state")).to_contain_text("Trust HTML", timeout=READY_MS)


def test_the_450_images_agree_with_python_in_both_forms(chromium):
    with watched(chromium, offline=True) as (page, wrong):
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(ADDRESS + "#test")
        page.wait_for_selector("#results table", timeout=READY_MS)
        report = json.loads(next(each for each in said if each.startswith("edge-report")).removeprefix("edge-report"))
        assert report["images"] == 450 and report["points_that_differ"] == 0
        assert [each["labels_agree"] for each in report["models"].values()] == [450, 450]
        assert report["models"]["fp32"]["largest_difference"] < 1e-4
        assert report["models"]["int8"]["largest_difference"] < 0.5  # a step of its output, at the most
        assert wrong == []


def test_the_page_cannot_call_another_host(chromium):
    with watched(chromium) as (page, wrong):
        page.goto(ADDRESS)
        told = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'went out', (refused) => refused.name)")
        assert told == "TypeError" and any("Content Security Policy" in each for each in wrong)


def contrast(first: list[float], second: list[float]) -> float:
    """WCAG 2.2's contrast ratio of two colours of 0 to 255."""

    def luminance(colour):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_control_has_a_name_and_the_text_has_contrast(chromium, scheme):
    with watched(chromium, color_scheme=scheme) as (page, _):
        page.goto(ADDRESS)
        nameless = """[...document.querySelectorAll('button, input, canvas')].filter(each =>
            !(each.textContent.trim() || each.ariaLabel || (each.labels && each.labels.length)))"""
        assert page.evaluate(f"{nameless}.length") == 0
        colours = """(what) => { const style = getComputedStyle(document.querySelector(what));
            return [style.color, getComputedStyle(document.body).backgroundColor]
                .map(text => text.match(/[0-9.]+/g).map(Number)); }"""
        for what in ("body", "caption", "legend"):
            assert contrast(*page.evaluate(colours, what)) >= 4.5, what


def test_the_committed_page_is_what_its_source_and_the_models_say():
    assert edge.PAGE.read_text(encoding="utf-8") == edge.page() and edge.problems() == []
    parts = edge.parts(edge.PAGE.read_text(encoding="utf-8"))
    assert base64.b64decode(parts["model-int8"][1]) == models.path("digits_cnn", 2).read_bytes()
    assert "MIT License" in edge.PAGE.read_text(encoding="utf-8")


def test_a_changed_model_is_noticed_and_answered_anew(tmp_path, monkeypatch):
    changed = tmp_path / "model.onnx"
    changed.write_bytes(models.path("digits_cnn", 3).read_bytes())
    path = models.path
    monkeypatch.setattr(models, "path", lambda name, version: changed if version == 1 else path(name, version))
    before, now = edge.parts(edge.PAGE.read_text(encoding="utf-8")), edge.parts(edge.page())
    assert now["python-fp32"][1] != before["python-fp32"][1] and now["ort-wasm"] == before["ort-wasm"]
    logits = np.frombuffer(base64.b64decode(now["python-fp32"][1]), "<f4").reshape(450, 10)
    assert (logits.argmax(axis=1) == data.digits()[1].labels).mean() > 0.99


def test_a_runtime_that_is_not_the_pinned_one_is_refused(tmp_path):
    text = edge.PAGE.read_text(encoding="utf-8")
    glue = edge.parts(text)["ort-glue"][1]
    other = edge.text(gzip.compress(gzip.decompress(base64.b64decode(glue)) + b"//"))
    (tmp_path / "page.html").write_text(text.replace(glue, other), encoding="utf-8")
    with pytest.raises(edge.Stale, match="ort-wasm-simd-threaded.mjs of onnxruntime-web"):
        edge.page(tmp_path / "page.html")
    with pytest.raises(edge.Stale, match="found nothing"):
        edge.page(tmp_path / "none.html")


def test_a_browser_is_found_or_the_reason_said(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BROWSER", str(tmp_path / "none"))
    found = reach.probe("browser", fresh=True)
    assert not found.there and "does not start" in found.reason
    monkeypatch.delenv("COURSE_BROWSER")
    monkeypatch.setattr(reach, "BROWSERS", ())
    monkeypatch.setattr(reach, "BROWSER_FILES", ())
    assert reach.probe("browser", fresh=True).reason.startswith("there is no Chromium or Chrome")
