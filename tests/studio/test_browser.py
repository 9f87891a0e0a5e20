"""The page in a real browser: every feature is clicked through, and its bytes are compared.

The browser is the chromium of the system, which is not downloaded; without one, these are skipped.
"""

import base64
import csv
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image
from studio.conftest import Studio, opened, serve
from torch import Tensor

from adm.app.studio.model_cache import ModelCache
from adm.generation.pipeline import load
from adm.metrics.accuracy import wilson
from adm.restoration.operators import Inpaint

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("studio"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
TIMEOUT_MS = 60_000
DONE = '#go:has-text("Sample")'
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"
NAMELESS = """() => [...document.querySelectorAll("button, input, select, a, canvas[tabindex='0']")]
  .filter((each) => each.checkVisibility() && each.offsetParent)
  .filter((each) => ![each.ariaLabel, each.textContent.trim(), each.labels?.[0]?.textContent.trim()]
    .some(Boolean))
  .map((each) => each.outerHTML)"""
CUT = """() => [...document.querySelectorAll("th, .tile span")]
  .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.textContent)"""
FILE = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const moved = new DataTransfer();
  moved.items.add(new File([bytes], name, { type: "image/png" }));
  return moved;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, studio: Studio) -> Iterator[Any]:
    """The page, after its first pictures; its console must stay silent."""
    yield from _open(browser, studio, viewport={"width": 1400, "height": 900})


@pytest.fixture
def phone(browser: Any, studio: Studio) -> Iterator[Any]:
    size = {"width": 400, "height": 800}
    yield from _open(browser, studio, viewport=size, color_scheme="dark", has_touch=True)


def _open(browser: Any, studio: Studio, **options: Any) -> Iterator[Any]:
    context = browser.new_context(accept_downloads=True, **options)
    context.set_default_timeout(TIMEOUT_MS)
    page, messages = context.new_page(), list[str]()
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: messages.extend(_foreign(request.url)))
    page.goto(f"http://localhost:{studio.port}/")
    page.wait_for_selector(".tile:not([disabled]) img")
    page.wait_for_selector(DONE)
    yield page
    context.close()
    assert messages == []


def _foreign(url: str) -> list[str]:
    return [] if url.startswith(("http://localhost:", "data:")) else [url]


def pictures(page: Any, within: str = "#stage") -> Tensor:
    """(N, C, H, W) uint8 of the finished pictures."""
    sources = page.locator(f"{within} .tile img").all()
    return torch.stack([opened(_content(each.get_attribute("src"))) for each in sources])


def _content(address: str) -> str:
    return address.partition("base64,")[2]


def go(page: Any) -> None:
    page.click("#go")
    done(page)


def done(page: Any) -> None:
    page.wait_for_selector(".tile:not(.live)")
    page.wait_for_selector(DONE)
    assert page.inner_text("#trouble") == ""


def tick(page: Any, name: str, value: str) -> None:
    page.locator(f'label:has(input[name="{name}"][value="{value}"])').click()


def choose(page: Any, *classes: str) -> None:
    for name in classes:
        page.locator(f'#chips label:has(input[value="{name}"])').click()


def expand(page: Any) -> None:
    page.click("summary")


def test_the_first_pictures_are_those_of_the_model(page: Any, studio: Studio) -> None:
    assert torch.equal(pictures(page), studio.pipeline.sample(count=3, scale=0.0).images)
    assert "4 calls of the network each" in page.get_attribute("#status", "title")
    assert page.locator(".tile").first.get_attribute("aria-label") == "sneaker, picture 0, seed 0"


def test_it_opens_on_what_guidance_does(browser: Any) -> None:
    with serve(ModelCache(device="cpu")) as shipped:
        for page in _open(browser, shipped, viewport={"width": 1400, "height": 900}):
            done(page)
            assert page.locator(".group h2").all_inner_texts() == [
                "Without guidance",
                "Guided to ankle-boot, scale 4",
            ]
            pipeline = load("fashion-unlabelled", "fashion-classifier", device="cpu")
            plain = pipeline.sample(count=10, guide="none").images
            assert torch.equal(pictures(page, ".group:nth-child(1)"), plain)
            guided = pipeline.sample({"ankle-boot": 10}, scale=4).images
            assert torch.equal(pictures(page, ".group:nth-child(2)"), guided)
            page.locator(".tile").last.click()
            tick(page, "tab", "code")
            assert "--classifier fashion-classifier" in page.inner_text("#panel")


def test_another_model_takes_the_place_of_the_pictures(page: Any, studio: Studio) -> None:
    page.select_option("#model", f"{studio.model}-fast")
    assert page.locator(".tile").count() == 0 or page.locator(".tile.live").count() > 0
    done(page)
    taught = studio.models.pipeline(f"{studio.model}-fast").sample(count=3, scale=0.0).images
    assert torch.equal(pictures(page), taught)


def test_the_chosen_settings_are_sampled(page: Any, studio: Studio) -> None:
    choose(page, "bag", "ankle boot")
    page.fill("#scale", "2")
    page.fill("#seed", "7")
    expand(page)
    page.fill("#images", "5")
    page.fill("#number", "6")
    page.get_by_label("Sampler", exact=True).select_option("ddim")
    page.get_by_label("eta", exact=True).fill("0.5")
    page.get_by_label("eta", exact=True).blur()
    page.get_by_label("Threshold", exact=True).select_option("dynamic")
    go(page)
    expected = studio.pipeline.sample(
        {"bag": 3, "ankle boot": 2},
        scale=2,
        seed=7,
        steps=6,
        sampler="ddim:eta=0.5",
        threshold="dynamic",
    )
    assert torch.equal(pictures(page), expected.images)


def test_guides_are_added_and_an_error_is_shown_where_it_belongs(page: Any, studio: Studio) -> None:
    page.fill("#scale", "1")
    expand(page)
    page.click("text=Another guide")
    go(page)
    guide = ["free:scale=1.5"]
    expected = studio.pipeline.sample(count=3, guide=guide, scale=1.0)
    assert torch.equal(pictures(page), expected.images)
    page.fill("#number", "21")
    page.click("#go")
    page.wait_for_selector("#number[aria-invalid=true]")
    assert "steps must be in 2..20" in page.inner_text("#trouble")


def test_it_is_live_and_stops_at_once(page: Any, studio: Studio) -> None:
    expand(page)
    page.fill("#number", "20")
    page.fill("#images", "64")
    page.get_by_label("Sampler", exact=True).select_option("heun")
    page.click("#go")
    page.wait_for_selector("#count:has-text('step')")
    drawn = "each => each.getContext('2d').getImageData(0, 0, 8, 8).data.some(Boolean)"
    assert page.locator(".tile.live canvas").first.evaluate(drawn)
    page.click("#go")
    page.wait_for_selector("#status:has-text('Stopped')")
    assert page.locator(".tile.live").count() == 64
    go(page)
    assert len(pictures(page)) == 64


def test_a_click_on_a_cell_of_scale_and_class_applies_it(page: Any, studio: Studio) -> None:
    tick(page, "view", "class")
    assert page.locator(".group").count() == 0  # of the view before
    done(page)
    page.fill("#scales", "0, 3")
    go(page)
    assert page.locator("td .tile img").count() == 6
    assert page.locator("th").all_inner_texts() == ["class", "scale", *tiny.CLASSES, "0", "3"]
    page.get_by_role("button", name="scale 3, class bag").click()
    done(page)
    assert (page.input_value("#scale"), page.input_value("#slider")) == ("3", "3")
    expected = studio.pipeline.sample({"bag": 3}, scale=3.0)
    assert torch.equal(pictures(page), expected.images)


def test_a_click_on_a_cell_of_scale_and_steps_applies_it(page: Any, studio: Studio) -> None:
    choose(page, "bag")
    tick(page, "view", "steps")
    done(page)
    page.fill("#scales", "0, 2")
    page.fill("#steps", "2, 5, 40")
    go(page)
    assert page.locator(".tile.refused").count() == 2  # T is 20
    page.get_by_role("button", name="scale 2, steps 5").click()
    done(page)
    expected = studio.pipeline.sample({"bag": 3}, scale=2.0, steps=5)
    assert torch.equal(pictures(page), expected.images)


def test_two_are_side_by_side(page: Any, studio: Studio) -> None:
    first, second = (f".group:nth-child({place})" for place in (1, 2))
    expand(page)
    page.click("text=Another guide")
    page.fill("#scale", "2")
    tick(page, "view", "sides")
    done(page)
    guides = {"guide": ["free:scale=1.5"], "scale": 2.0}
    assert torch.equal(pictures(page, second), studio.pipeline.sample(count=3, **guides).images)
    plain = studio.pipeline.sample(count=3, guide="none").images
    assert torch.equal(pictures(page, first), plain)
    assert "guided" not in page.get_attribute("#status", "title").split(";")[0]
    page.click("text=Remove it")
    student = f"{studio.model}-fast"
    page.select_option("#other", student)
    go(page)
    assert torch.equal(pictures(page, first), studio.pipeline.sample(count=3, scale=2.0).images)
    taught = studio.models.pipeline(student).sample(count=3, scale=2.0).images
    assert torch.equal(pictures(page, second), taught)


def test_pairs_are_judged_blind_beside_real_images(page: Any, studio: Studio) -> None:
    tick(page, "view", "sides")
    done(page)
    page.select_option("#other", label="real images")
    go(page)
    headings = [studio.model, "Training images of data.npz"]
    assert page.locator(".group h2").all_inner_texts() == headings
    page.click("#blind")  # which takes another seed, whose pictures nobody has seen
    data = tiny.stripes(12).batch(range(12))[0]
    keys, wrong, judged, seeds = ("ArrowLeft", "ArrowRight"), 1, [], []
    for left in (3, 2, 1, 3, 2, 1):
        if len(judged) == 3:
            page.keyboard.press("n")
        question(page, left)
        assert page.locator(".group").count() == 0
        assert "data" not in page.inner_text(".blind")
        assert page.evaluate(NAMELESS) == []
        real = [bool((data == each).flatten(1).all(1).any()) for each in pictures(page, ".two")]
        assert sorted(real) == [False, True]
        place = real.index(len(judged) != wrong)
        page.keyboard.press(keys[place])
        judged.append((["left", "right"][place], "real" if real[place] else studio.model))
        seeds.append(page.input_value("#seed"))
        shown = page.locator(".two span").all_inner_texts()
        assert shown == [headings[each] for each in real]
        chosen = page.locator(".two .chosen").get_attribute("aria-label")
        assert chosen == f"{judged[-1][0].title()} picture: {shown[place]}, chosen"
        bound, count = wilson(len(judged) - (len(judged) > wrong), len(judged)), len(judged)
        share, low, high = (round(100 * each) for each in (bound.value, bound.low, bound.high))
        recognised = f"{count - (count > wrong)} of {count} recognised"
        assert f"{recognised}: {share}%, 95% interval {low} to {high}%" in page.inner_text(".blind")
        assert ("excludes 50%" in page.inner_text(".blind")) == (bound.low > 0.5)
        page.keyboard.press("Enter")
    assert page.locator(".group h2").all_inner_texts() == headings
    with page.expect_download() as saved:
        page.click("text=CSV")
    rows = list(csv.DictReader(Path(saved.value.path()).read_text().splitlines()))
    assert [(row["choice"], row["chosen"]) for row in rows] == judged
    assert [row["seed"] for row in rows] == seeds
    assert [row["class"] for row in rows] == [*tiny.CLASSES] * 2
    assert all(row["beside"].startswith("training image ") for row in rows)
    assert all(row[row["choice"]] == row["chosen"] for row in rows)
    assert all(int(row["milliseconds"]) >= 0 for row in rows)
    page.click("#go")  # the same pairs
    page.wait_for_selector(".blind:has-text('No pair is left')")
    page.fill("#scale", "2")
    page.click("#go")
    question(page, 3)
    assert "recognised" not in page.inner_text(".blind")


def question(page: Any, left: int) -> None:
    page.wait_for_selector(f".blind:has(h2:has-text('{left} left')) .two[aria-busy=false]")


def test_the_blind_choice_between_two_is_a_preference(page: Any, studio: Studio) -> None:
    tick(page, "view", "sides")
    done(page)
    page.select_option("#other", f"{studio.model}-fast")
    page.click("#blind")
    question(page, 3)
    assert "Which one is better?" in page.inner_text(".blind")
    page.locator(".two button").first.click()
    won = studio.model == page.locator(".two .chosen span").inner_text()
    assert f"{studio.model} preferred in {int(won)} of 1" in page.inner_text(".blind")
    page.locator(".two button").last.click()
    question(page, 2)
    for successes, count in ((0, 1), (1, 1), (14, 20), (500, 1000)):
        call = f"async () => (await import('./blind.js')).wilson({successes}, {count})"
        bound = wilson(successes, count)
        assert page.evaluate(call) == pytest.approx([bound.low, bound.high], abs=1e-12)


def test_a_picture_is_rewound_to_another_class(page: Any, studio: Studio) -> None:
    choose(page, "bag", "ankle boot")
    go(page)
    page.locator(".tile").nth(2).click()
    page.wait_for_selector(".shots")
    film = page.locator("a[download='way.webp']").get_attribute("href")
    frames = Image.open(io.BytesIO(base64.b64decode(_content(film))))
    assert frames.n_frames == 5
    page.locator("#under input").fill("2")
    level = re.fullmatch(r"Step 2 of 4: noise level ([\d.]+)", page.inner_text("#where"))
    assert level is not None
    page.locator("#panel").get_by_label("Class", exact=True).select_option("sneaker")
    page.click("text=Go on from here")
    page.wait_for_selector("h2:has-text('From step 2 on')")
    done(page)
    plain = studio.pipeline.job("ankle boot", 3, scale=0.0)
    then = [f"at:level={level[1]},classes=sneaker,scale=0"]
    changed = studio.pipeline.job("ankle boot", 3, scale=0.0, then=then)
    assert torch.equal(pictures(page), changed.images([2]))
    assert not torch.equal(changed.images([2]), plain.images([2]))


def test_the_nearest_training_images_are_shown(page: Any, studio: Studio) -> None:
    page.locator(".tile").first.click()
    tick(page, "tab", "nearest")
    page.wait_for_selector(".shots figure")
    assert page.locator(".shots img").count() == 5
    assert "The nearest of 12 in data" in page.inner_text("#panel")


def test_a_painted_region_is_filled(page: Any, studio: Studio, tmp_path: Path) -> None:
    page.locator(".tile").first.click()
    tick(page, "tab", "paint")
    box = page.locator("#layer").bounding_box()
    page.locator("#under input").fill("2")
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.6, steps=4)
    page.mouse.up()
    page.locator("#layer").focus()
    for key in ("ArrowRight", "ArrowRight", " "):
        page.keyboard.press(key)
    assert "iterations" not in page.inner_text("#panel")
    page.click("#panel summary")
    page.get_by_label("Method", exact=True).select_option("ddnm")
    page.locator("#panel").get_by_label("Pictures", exact=True).fill("2")
    before = pictures(page)[0]
    page.click("text=Fill it")
    done(page)
    page.locator(".tile").first.click()
    tick(page, "tab", "code")
    mask = _content(page.locator("a[download='mask.png']").get_attribute("href"))
    source = _content(page.locator("a[download='picture.png']").get_attribute("href"))
    assert torch.equal(opened(source), before)
    known = opened(mask) > 0
    assert 4 < int((~known).sum()) < 40
    (tmp_path / "mask.png").write_bytes(base64.b64decode(mask))
    operator = Inpaint(mask=str(tmp_path / "mask.png"))
    expected = studio.pipeline.restore(before[None], operator, "ddnm", samples=2, steps=4)
    assert torch.equal(pictures(page), expected.images)


def test_a_picture_is_varied_and_dragged_onto_another(page: Any, studio: Studio) -> None:
    expand(page)
    page.get_by_label("Sampler", exact=True).select_option("ddim")
    go(page)
    first, second, _ = before = pictures(page)
    page.locator(".tile").first.drag_to(page.locator(".tile").nth(1))
    page.wait_for_selector("h2:has-text('From sneaker')")
    done(page)
    settings = {"steps": 4, "sampler": "ddim"}
    edit = "interpolate:count=8,steps=20"
    expected = studio.pipeline.edit(torch.stack([first, second]), edit, **settings)
    assert torch.equal(pictures(page), expected.images)
    go(page)
    assert torch.equal(pictures(page), before)
    page.locator(".tile").first.click()
    tick(page, "tab", "vary")
    page.get_by_label("How much changes", exact=True).fill("0.7")
    page.locator("#panel").get_by_label("Class", exact=True).select_option("bag")
    page.locator("#panel").get_by_label("Pictures", exact=True).fill("2")
    page.click("text=Start from it")
    done(page)
    expected = studio.pipeline.edit(
        first[None], "noise:strength=0.7", "bag", 2, scale=0.0, **settings
    )
    assert torch.equal(pictures(page), expected.images)
    page.locator(".tile").first.click()
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    go(page)
    page.get_by_role("button", name="Kept picture 1").click()
    page.wait_for_selector("h2:has-text('Made again')")
    done(page)
    assert torch.equal(pictures(page), expected.images)


def test_a_kept_picture_brings_its_settings_back(page: Any, studio: Studio) -> None:
    choose(page, "bag")
    page.fill("#scale", "2.5")
    page.fill("#seed", "11")
    expand(page)
    page.get_by_label("Sampler", exact=True).select_option("ddim")
    page.click("text=Another guide")
    page.click("text=Another change on the way")
    page.get_by_label("level", exact=True).fill("9")
    page.get_by_label("level", exact=True).blur()
    go(page)
    changed = {"guide": ["free:scale=1.5"], "then": ["at:level=9,scale=0"], "sampler": "ddim"}
    assert torch.equal(
        pictures(page), studio.pipeline.sample({"bag": 3}, scale=2.5, seed=11, **changed).images
    )
    page.locator(".tile").nth(1).click()
    with page.expect_download() as saved:
        page.click("#save")
    content = Path(saved.value.path()).read_bytes()
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    expected = pictures(page)[1]
    page.reload()
    page.wait_for_selector(DONE)
    done(page)
    page.get_by_role("button", name="Kept picture 1").click()
    page.wait_for_selector("h2:has-text('Made again')")
    done(page)
    assert torch.equal(pictures(page), expected[None])
    assert (page.input_value("#scale"), page.input_value("#seed")) == ("2.5", "11")
    assert page.locator("#chips :checked").count() == 1
    expand(page)
    assert page.get_by_label("Sampler", exact=True).input_value() == "ddim"
    assert page.get_by_label("level", exact=True).input_value() == "9"
    page.click("#usual")
    page.fill("#seed", "1")
    go(page)
    assert torch.equal(pictures(page), studio.pipeline.sample(count=3, scale=0.0, seed=1).images)
    drop(page, content)
    page.wait_for_selector("h2:has-text('Made again')")
    done(page)
    assert page.input_value("#seed") == "11"
    assert torch.equal(pictures(page), expected[None])


def drop(page: Any, content: bytes) -> None:
    named = ["one.png", base64.b64encode(content).decode()]
    moved = page.evaluate_handle(FILE, named)
    page.dispatch_event("#stage", "drop", {"dataTransfer": moved})


def test_a_picture_of_ones_own_is_where_to_start(
    page: Any, studio: Studio, picture: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "own.png"
    picture.save(path)
    page.set_input_files("#file", path)
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("#title") == "a picture of yours"
    page.locator("#panel").get_by_label("Pictures", exact=True).fill("2")
    fitted = opened(_content(page.locator("#large").get_attribute("src")))
    page.click("text=Start from it")
    done(page)
    expected = studio.pipeline.edit(fitted[None], "noise:strength=0.5", samples=2, steps=4)
    assert torch.equal(pictures(page), expected.images)
    drop(page, b"no picture at all")
    page.wait_for_selector("#trouble:has-text('is not a')")


def test_it_is_used_by_keyboard_and_everything_has_a_name(page: Any, studio: Studio) -> None:
    page.focus("#seed")
    page.keyboard.type("4")
    page.keyboard.press("Enter")
    done(page)
    seed = int(page.input_value("#seed"))
    assert torch.equal(pictures(page), studio.pipeline.sample(count=3, seed=seed, scale=0.0).images)
    page.locator(".tile").first.focus()
    page.keyboard.press("n")
    page.wait_for_selector(DONE)
    done(page)
    assert int(page.input_value("#seed")) != seed
    page.locator(".tile").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .shots")
    title = page.inner_text("#title")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#title") != title
    assert page.evaluate(NAMELESS) == []
    for tab in ("vary", "paint", "code"):
        tick(page, "tab", tab)
        assert page.evaluate(NAMELESS) == []
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    expand(page)
    assert page.evaluate(NAMELESS) == []


def test_a_phone_shows_it_in_the_dark_without_scrolling_sideways(
    phone: Any, studio: Studio
) -> None:
    dark = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert max(phone.evaluate(dark)) < 64
    assert phone.evaluate(OVERFLOW) <= 0
    for view in ("class", "steps", "sides"):
        tick(phone, "view", view)
        done(phone)
        assert phone.evaluate(OVERFLOW) <= 0
        assert phone.evaluate(CUT) == []
    phone.locator("#blind").tap()
    question(phone, 3)
    phone.locator(".two button").first.tap()
    assert phone.evaluate(OVERFLOW) <= 0
    tick(phone, "view", "pictures")
    done(phone)
    phone.locator(".tile").first.tap()
    phone.wait_for_selector(".shots")
    for tab in ("vary", "paint", "code", "nearest"):
        tick(phone, "tab", tab)
        assert phone.evaluate("() => sheet.scrollWidth - sheet.clientWidth") <= 0
