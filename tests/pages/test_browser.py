"""The page of a run in a real browser: what a reader sees, moves and prints."""

import base64
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from comparison_runs import made_run

from mri_n2n.comparison.compared import compare
from mri_n2n.comparison.records import read_run
from mri_n2n.comparison.tables import as_json
from mri_n2n.pages.comparison_page import comparison_page
from mri_n2n.pages.run_page import run_page
from mri_n2n.run_directory import Run
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome, Reason
from pipelines.batch.thumbnail import draw_thumbnail
from pipelines.report.studies import study_page

# The lowest contrast of any text to what is behind it, as WCAG counts it, and that text.
CONTRAST = """
const channels = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (rgb) => { const [r, g, b] = rgb.slice(0, 3).map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = (element) => { for (let at = element; at; at = at.parentElement) {
  const colour = channels(getComputedStyle(at).backgroundColor);
  if (colour.length < 4 || colour[3] > 0) return colour; } return [255, 255, 255]; };
let worst = [100, "", 0];
for (const element of document.querySelectorAll("body *")) {
  if (element.closest(".stage, .visually-hidden, script, style")) continue;
  if (![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
  if (!element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const ink = channels(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
  const pair = [light(ink), light(behind(element))].sort((a, b) => b - a);
  const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
  worst[2] += 1;
  if (contrast < worst[0]) worst = [contrast, element.textContent.trim().slice(0, 60), worst[2]];
}
return worst;
"""


@pytest.fixture(scope="session")
def page(evaluated: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the evaluated run."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(run_page(evaluated), encoding="utf-8")
    return path


def test_everything_is_drawn_and_nothing_is_fetched(browser: Browser, page: Path) -> None:
    browser.requests(), browser.complaints()
    browser.open(page)
    assert browser.run("return document.querySelector('h1').textContent") == "<b>x"  # and no bold x
    assert "simulated" in browser.run("return document.querySelector('.caution').textContent")
    sizes = browser.run("return [...document.images].map((image) => image.complete ? image.naturalWidth : 0)")
    assert len(sizes) > 30
    assert min(sizes) > 0
    assert browser.run("return [...document.images].every((image) => image.alt.length > 8)")
    assert browser.run("return document.querySelectorAll('svg[role=img]').length") == 4
    asked = browser.requests()
    assert page.as_uri() in asked
    assert {address.split(":")[0] for address in asked} <= {"file", "data"}
    assert browser.complaints() == []


def test_the_policy_would_stop_what_fetches(browser: Browser, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    inserted = '<img src="other.png"><script>document.title = "stolen"</script></main>'
    broken.write_text(page.read_text(encoding="utf-8").replace("</main>", inserted), encoding="utf-8")
    browser.open(broken)
    assert browser.run("return document.title") == "<b>x"
    assert sum("Content Security Policy" in said for said in browser.complaints()) == 2


def test_the_slider_moves_by_keyboard_and_by_pointer(browser: Browser, page: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    stage = browser.driver.find_element(By.CSS_SELECTOR, ".stage")
    slider = stage.find_element(By.TAG_NAME, "input")
    browser.run("arguments[0].scrollIntoView({block: 'center'})", stage)
    middle = browser.picture(stage)
    slider.send_keys(Keys.HOME)
    after = browser.picture(stage)
    assert slider.get_attribute("value") == "0"
    slider.send_keys(Keys.END)
    before = browser.picture(stage)
    inside = np.s_[8:-8, 30:-30]  # without the focus ring and the handle at either end
    half = middle.shape[1] // 2 - 40
    assert np.abs(before[inside] - after[inside]).mean() > 2
    np.testing.assert_allclose(middle[8:-8, 30:half], before[8:-8, 30:half], atol=2)  # the left half of it
    slider.send_keys(Keys.ARROW_LEFT)
    assert slider.get_attribute("value") == "99"
    ActionChains(browser.driver).move_to_element_with_offset(slider, -stage.size["width"] // 4, 0).click().perform()
    assert abs(int(slider.get_attribute("value")) - 25) <= 1
    assert "zero-filled" in slider.accessible_name


def test_what_the_slider_shows_is_chosen(browser: Browser, page: Path) -> None:
    """The reference at the left, in its full size, and what that says to who does not see it."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    browser.open(page)
    example = browser.driver.find_element(By.CSS_SELECTOR, ".example")
    left, right = (Select(own) for own in example.find_elements(By.TAG_NAME, "select"))
    assert left.first_selected_option.text == "zero-filled"
    qualities = [own.text for own in example.find_elements(By.CSS_SELECTOR, ".ends .range")]
    left.select_by_visible_text("reference")
    sources = browser.run(
        "const found = [...document.querySelector('.example').querySelectorAll('img')];"
        "return [document.querySelector('.stage .upper').src, found.find((own) => own.alt.endsWith('reference') && "
        "!own.className).src]"
    )
    assert sources[0] == sources[1]
    slider = example.find_element(By.CSS_SELECTOR, ".stage input")
    assert slider.accessible_name.startswith("How much of the picture shows reference")
    now = [own.text for own in example.find_elements(By.CSS_SELECTOR, ".ends .range")]
    assert now == ["", qualities[1]]
    right.select_by_visible_text("zero-filled")
    assert [own.text for own in example.find_elements(By.CSS_SELECTOR, ".ends .range")] == ["", qualities[0]]


def test_the_volume_is_scrolled(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    slider = browser.driver.find_element(By.ID, "slice")
    images = browser.driver.find_elements(By.CSS_SELECTOR, ".volume.screen-only img")
    said = browser.driver.find_element(By.CSS_SELECTOR, "output")
    assert [image.get_attribute("data-method") for image in images][-1] == "reference"
    browser.run("arguments[0].scrollIntoView({block: 'center'})", images[0])
    slider.send_keys(Keys.HOME)
    first, name = browser.picture(images[-1]), said.text
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    browser.wait("return [...document.images].every((image) => image.naturalWidth > 0)")
    assert np.abs(browser.picture(images[-1]) - first).mean() > 1
    assert (name, said.text) == ("slice 14", "slice 16")
    assert images[-1].get_attribute("alt") == "reference, slice 16"


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_can_be_read(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, 360, 740, dark=dark)
    browser.run("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    assert browser.run("return document.documentElement.scrollWidth") == 360
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper.strip("rgb()").split(","))) < 3 * 60) == dark
    contrast, text, counted = browser.run(CONTRAST)
    assert counted > 100
    assert contrast >= 4.5, text


def test_the_keyboard_reaches_everything(browser: Browser, page: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    used = browser.run(
        "document.querySelectorAll('details').forEach((fold) => { fold.open = true; });"
        "window.reached = []; addEventListener('focusin', (event) => window.reached.push(event.target));"
        "return [...document.querySelectorAll('a[href], button, input, select, summary, .scroll, pre')]"
        ".filter((element) => element.checkVisibility())"
    )
    keyboard = ActionChains(browser.driver)
    keyboard.send_keys(Keys.TAB).perform()
    focused = browser.driver.switch_to.active_element
    assert focused.text == "Skip to the content"
    assert focused.location["x"] >= 0  # it is seen only now
    assert focused.value_of_css_property("outline-style") == "solid"
    keyboard.send_keys(Keys.TAB * (len(used) + 5)).perform()
    reached = browser.run("return window.reached")
    assert {"a", "input", "select", "summary", "div"} <= {element.tag_name for element in used}
    for element in used:
        assert element in reached, element.get_attribute("outerHTML")[:200]
    landmarks = browser.run(
        "return ['header', 'nav', 'main', 'footer'].map((name) => document.querySelector(name) !== null)"
    )
    assert all(landmarks)
    headings = browser.run(
        "return [...document.querySelectorAll('h1, h2, h3')].map((heading) => Number(heading.tagName[1]))"
    )
    assert headings[0] == 1
    assert all(second - first <= 1 for first, second in pairwise(headings))


def test_it_prints(browser: Browser, page: Path) -> None:
    browser.open(page)
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") >= 2
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        beside = browser.run(
            "return [...document.querySelectorAll('.stage')[0].querySelectorAll('img')]"
            ".map((image) => image.getBoundingClientRect().left)"
        )
        assert beside[0] > beside[1] + 50  # after stands right of before
        assert browser.run("return document.querySelector('.volume.paper-only').getClientRects().length") == 1
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_page_of_studies(browser: Browser, tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path / "out")
    folder.open()
    quality = {"held_out_psnr": 18.2, "consistency_residual": 1e-7, "outlier": True}
    known = [
        Outcome(
            "study-a", Reason.RECONSTRUCTED, "k" * 16, {"network": 2.0}, 3, quality, about={"label": "mri-n2n: <i>"}
        ),
        Outcome("study-b", Reason.NOT_FINITE),
    ]
    for outcome in known:
        outcome.write(folder.status_path(outcome.study), tmp_path)
    place = folder.published("study-a", known[0].key)
    place.mkdir(parents=True)
    draw_thumbnail(place / "thumbnail.png", np.ones((8, 8, 4), np.float32), np.eye(4))
    path = tmp_path / "report.html"
    path.write_text(study_page(folder), encoding="utf-8")
    browser.requests(), browser.complaints()
    browser.open(path, 360, 740, dark=True)
    assert browser.run("return document.documentElement.scrollWidth") == 360
    rows = browser.run("return [...document.querySelectorAll('.studies tbody tr')].map((row) => row.innerText)")
    assert ["not finite" in row for row in rows] == [True, False]  # what is wrong comes first
    assert "18.2 dB ▼ outlier" in rows[1]
    assert browser.run("return document.querySelector('.caution').textContent") == "<i>."
    assert browser.run("return [...document.images].map((image) => image.naturalWidth > 0)") == [True]
    assert browser.run(CONTRAST)[0] >= 4.5
    assert {address.split(":")[0] for address in browser.requests()} <= {"file", "data"}
    assert browser.complaints() == []


def test_a_page_of_a_comparison(browser: Browser, tmp_path: Path) -> None:
    names = ["<b>plain", "another"]
    made = [made_run(tmp_path / name, gain=place, noise=0.1, recipe={"kind": name}) for place, name in enumerate(names)]
    path = tmp_path / "pair.html"
    path.write_text(comparison_page(as_json(compare([read_run(run) for run in made])), "pair"), encoding="utf-8")
    browser.complaints()
    browser.open(path, 360, 740, dark=True)
    assert browser.run("return document.documentElement.scrollWidth") == 360
    assert browser.run("return document.querySelector('h1').textContent") == "<b>plain · another"
    drawn = browser.run("return [...document.querySelectorAll('svg text')].map((text) => text.textContent.trim())")
    assert {name.strip("\u200b") for name in drawn} >= set(names)
    assert browser.run(CONTRAST)[0] >= 4.5
    assert browser.complaints() == []


def test_a_page_that_refreshes_itself_stays_where_it_is(browser: Browser, evaluated: Run, tmp_path: Path) -> None:
    from mri_n2n.illustrations import read_illustrations

    examples = read_illustrations(evaluated.directory / "evaluation")
    path = tmp_path / "report.html"
    path.write_text(run_page(evaluated, examples, "RUNNING").replace('content="10"', 'content="1"'), encoding="utf-8")
    browser.open(path)
    browser.run(
        "window.old = true; const slider = document.querySelector('.stage input'); slider.value = 80;"
        "slider.dispatchEvent(new Event('input')); scrollTo(0, 700);"
    )
    browser.wait("return !window.old && document.readyState === 'complete'")
    assert browser.run("return document.querySelector('.stage').style.getPropertyValue('--split')") == "80%"
    assert abs(browser.run("return scrollY") - 700) < 2
    assert browser.complaints() == []
    path.write_text(run_page(evaluated, examples, "FINISHED"), encoding="utf-8")
    browser.wait("return document.querySelector('meta[http-equiv=refresh]') === null")
    assert "has ended" in browser.run("return document.querySelector('.state').textContent")
