"""The page in a real browser: Debian's chromium, driven by selenium, with both of TensorBoard's data loaders.

Nothing is compared with a screenshot: the tests read the page's elements, the pixels of its canvas and the console.
Without a browser they are skipped; with TORCHBP_REQUIRE_BROWSER=1 that is a failure.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from board_logs import RunWriter, served, until, verdict

LAYERS = ("net/layer0", "net/layer1", '<img src=x onerror="document.body.dataset.pwned=1">', "head")
KINDS = ("quantum", "quantum", "quantum", "classical")
STEPS = 200
CHROMIUM = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)
BLUE, RED, GREY = "blue", "red", "grey"


def missing() -> str:
    """Why there is no browser; empty if there is one."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed (pip install selenium)"
    absent = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(absent)} not found (apt install chromium chromium-driver)" if absent else ""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    reason = missing()
    if reason and os.environ.get("TORCHBP_REQUIRE_BROWSER") == "1":
        pytest.fail(f"TORCHBP_REQUIRE_BROWSER=1, but {reason}.")
    if reason:
        pytest.skip(f"The page is tested in a browser, and {reason}.")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (*CHROMIUM, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(shutil.which("chromedriver"))))
    driver.set_script_timeout(30)
    yield driver
    driver.quit()


def treated(folder: Path) -> RunWriter:
    """The second layer falls below the threshold at step 100, the third was not measured until then; two events."""
    run = RunWriter(folder, LAYERS, KINDS)
    for step in range(STEPS):
        fallen = step >= 100
        run.stats(step, [20.0, 0.4 if fallen else 20.0, 0.0 if fallen else math.nan, math.inf])
        run.weights(step, 1, [0.1, 30.0])
        run.scalar(step, "train_loss", math.nan if step == 50 else math.exp(-step / 50))
        run.scalar(step, "val_loss", 2.0)
    run.events(120, verdict("barren_plateau", 0.93, LAYERS[1:3]))
    run.events(150, ("reset", "Drew new weights.", {"strategy": "gaussian", "html": "<b>bold</b>"}))
    run.flush()
    return run


@pytest.fixture(scope="module", params=["true", "false"], ids=["fast", "slow"])
def board(request: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """TensorBoard with two runs, below a path as behind a proxy; its address and log directory."""
    folder = tmp_path_factory.mktemp("logs")
    plain = RunWriter(folder / "plain run/ä,&=#", LAYERS[:1])
    for step in range(0, 100, 5):
        plain.stats(step, [5.0])
    plain.close()
    treated(folder / "treated").close()
    with served(folder, f"--load_fast={request.param}", "--path_prefix=/below") as address:
        yield address, folder


class Page:
    """The page, inside TensorBoard's frame; everything is read through one script a question."""

    def __init__(self, browser: Any, address: str, fragment: str = "") -> None:
        self.browser = browser
        browser.switch_to.default_content()
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(f"{address}/#torchbp{fragment}")
        frames = until(lambda: browser.find_elements("css selector", "iframe"))
        browser.switch_to.frame(frames[0])
        self.wait("Boolean(document.body?.dataset.ready ?? document.body?.dataset.message?.startsWith('No'))")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return self.browser.execute_script(f"return ({expression})")

    def do(self, statement: str) -> None:
        """Run a statement, and wait until the page has drawn again."""
        before = self.js("Number(document.body.dataset.ready)")
        self.browser.execute_script(statement)
        until(lambda: self.js("Number(document.body.dataset.ready)") > before)

    def wait(self, condition: str) -> None:
        """Until a condition holds in the page."""
        until(lambda: self.js(condition))

    def text(self, selector: str) -> str:
        """What an element shows."""
        return str(self.js(f"document.querySelector({selector!r})?.innerText ?? ''"))

    def color(self, step: float, row: int, of: float = STEPS, rows: int = 4) -> str:
        """The colour of one cell of the first heatmap."""
        red, green, blue, alpha = self.js(
            "(() => { const c = document.querySelector('canvas.cells');"
            f"const at = [{(step + 0.5) / of} * c.width, {(row + 0.5) / rows} * c.height].map(Math.floor);"
            "return [...c.getContext('2d').getImageData(...at, 1, 1).data]; })()"
        )
        if alpha == 0:
            return "nothing"
        return GREY if red == green == blue else BLUE if blue > red else RED

    def errors(self) -> list[str]:
        """What the console complains of, beside TensorBoard's own."""
        said = [e["message"] for e in self.browser.get_log("browser") if e["level"] == "SEVERE"]
        return [message for message in said if "/font-roboto/" not in message]  # which it misses below a path

    def hurry(self, condition: str) -> None:
        """Wait for new data, looked for at once, as when the user comes back to the page."""
        until(lambda: self.js("document.dispatchEvent(new Event('visibilitychange'))") and self.js(condition))


RUNS = "&p.torchbp.runs="


def test_says_what_is_the_matter(browser: Any, board: tuple[str, Path]) -> None:
    """Verdict, place, step, evidence and what was done; one row of cells a layer; no foreign markup; no errors."""
    page = Page(browser, board[0], f"{RUNS}treated")
    headline = page.text(".headline")
    assert headline.startswith("Barren plateau since step 120, in net/layer1, <img")
    for part in ("0.93", "random weights do no better", "step 150: Drew new weights.", "Do this.", "1 of 3"):
        assert part in headline
    assert page.js("document.querySelector('.headline').classList.contains('bad')")
    before, after = [BLUE, BLUE, GREY, BLUE], [BLUE, RED, RED, BLUE]
    assert [[page.color(step, row) for row in range(4)] for step in (10, 150)] == [before, after]
    assert page.js("[...document.querySelectorAll('text.row title')].map(t => t.textContent)") == list(LAYERS)
    segments = "[...document.querySelectorAll('.segment')].map(s => [s.classList[1], s.textContent])"
    assert page.js(segments) == [["none", "no verdict yet"], ["bad", "Barren plateau from step 120"]]
    assert page.js("[...document.querySelectorAll('.event')].map(e => e.dataset.kind)") == ["reset"]
    assert page.js("document.querySelectorAll('.lines .series').length") == 3 + 1
    assert page.js("document.querySelectorAll('.lost').length") == 1
    assert page.text(".verdicts tbody tr").split()[:3] == ["120", "Barren", "plateau"]
    assert page.text(".events tbody tr").split()[:2] == ["150", "reset"]
    assert page.js("document.querySelectorAll('.events dd b, img').length") == 0
    assert page.js("document.body.dataset.pwned ?? 'safe'") == "safe"
    assert page.errors() == []


fast = pytest.mark.parametrize("board", ["true"], indirect=True, ids=["fast"])


@fast
def test_mouse_keyboard_and_address(browser: Any, board: tuple[str, Path]) -> None:
    """Exact numbers at the cell, arrow keys, a layer's weights, zoom, and an address that brings it all back."""
    from selenium.webdriver import ActionChains, Keys

    page = Page(browser, board[0], f"{RUNS}treated")
    heatmap = browser.find_element("css selector", ".heatmap")
    ActionChains(browser).move_to_element_with_offset(heatmap, 200, -30).perform()
    page.wait("!document.querySelector('.tooltip').hidden")
    name, step, value, _ = page.text(".tooltip").split("\n")
    assert name in LAYERS
    assert int(step.removeprefix("step ")) >= 100
    assert value.startswith("Gradient SNR")

    ActionChains(browser).move_to_element(browser.find_element("css selector", ".space")).perform()
    page.wait("document.querySelector('.tooltip').hidden")
    page.js("document.querySelector('.heatmap').focus()")
    keyed = browser.switch_to.active_element
    for key in (Keys.HOME, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT):
        keyed.send_keys(key)
    assert page.text(".said") == "net/layer1, step 2, Gradient SNR 20 (3 or more)"
    keyed.send_keys(Keys.END)
    assert page.text(".said") == "net/layer1, step 199, Gradient SNR 0.4 (below 3)"
    keyed.send_keys(Keys.ENTER)
    page.wait("document.querySelector('.detail b')?.textContent === 'net/layer1'")
    assert page.js("document.querySelectorAll('.detail text.row').length") == 2
    assert page.js("document.activeElement.className") == "heatmap"
    keyed.send_keys(Keys.HOME, "+")
    page.wait("parent.location.hash.includes('range')")
    page.do(
        "document.querySelector('select[name=quantity]').value = 'median_abs';"
        "document.querySelector('select[name=quantity]').dispatchEvent(new Event('change'))"
    )

    address = page.js("parent.location.href")
    again = Page(browser, board[0], address.partition("#torchbp")[2])
    assert again.text(".detail b") == "net/layer1"
    assert again.text(".charts h3").startswith("Median |gradient| by layer and step")
    assert again.js("document.querySelector('.axis text:last-of-type').textContent") == "100"
    assert again.js("document.querySelector('.menu.link input').value") == address
    keyed = browser.find_element("css selector", ".heatmap")
    keyed.send_keys(Keys.ESCAPE)
    again.wait("document.querySelector('.detail').hidden && !parent.location.hash.includes('layer')")
    assert again.errors() == []


@fast
def test_runs_side_by_side(browser: Any, board: tuple[str, Path]) -> None:
    """Two runs on one axis of steps, one without a verdict, with a name that must survive the address."""
    page = Page(browser, board[0], f"{RUNS}treated")
    page.js("document.querySelector('.runs summary').click()")
    boxes = "[...document.querySelectorAll('.choices input')]"
    assert set(page.js(f"{boxes}.map(b => b.value)")) == {"treated", "plain run/ä,&=#"}
    page.do(f"{boxes}.find(b => b.value !== 'treated').click()")
    page.wait("document.querySelectorAll('article').length === 2")
    address = page.js("parent.location.href")
    again = Page(browser, board[0], address.partition("#torchbp")[2])
    assert again.js("[...document.querySelectorAll('h1')].map(h => h.title)") == ["treated", "plain run/ä,&=#"]
    headlines = again.js("[...document.querySelectorAll('h2')].map(h => h.innerText)")
    assert headlines[1] == "Every quantum layer has a measurable gradient"
    tops = again.js("[...document.querySelectorAll('.charts')].map(c => c.getBoundingClientRect().top)")
    assert tops[0] == tops[1]
    axes = again.js("[...document.querySelectorAll('.heatmap .axis')].map(a => a.textContent)")
    assert len(set(axes[:1] + axes[-1:])) == 1
    assert again.js("document.documentElement.scrollWidth <= window.innerWidth")
    assert again.errors() == []


def test_follows_a_run(browser: Any, board: tuple[str, Path]) -> None:
    """What is written while the page is open shows up by itself. TensorBoard reads a second file of the run."""
    page = Page(browser, board[0], f"{RUNS}live")
    run = RunWriter(board[1] / "live", LAYERS[:2])
    for step in range(10):
        run.stats(step, [5.0, 5.0])
    run.flush()
    page.hurry("document.querySelector('.runs b')?.textContent === 'live'")
    page.js("document.querySelector('.heatmap').focus()")
    for step in range(10, 20):
        run.stats(step, [5.0, 0.1])
    run.events(19, verdict("shot_limited", 0.8, LAYERS[1:2]))
    run.close()
    page.hurry("document.querySelector('h2').textContent.startsWith('Too few shots')")
    page.hurry("[...document.querySelectorAll('.fact')].some(f => f.textContent === 'step19')")
    assert page.color(15, 1, of=20, rows=2) == RED
    assert page.js("document.activeElement.className") == "heatmap"
    assert page.errors() == []


@fast
def test_downloads(browser: Any, board: tuple[str, Path]) -> None:
    """The numbers that are shown, and pictures that other programs can read."""
    page = Page(browser, board[0], f"{RUNS}treated")
    page.browser.execute_script(
        "const make = URL.createObjectURL; window.made = {};"
        "URL.createObjectURL = (blob) => { window.made[blob.type] = blob; return make(blob); };"
        "document.querySelectorAll('[data-kind]').forEach((e) => e.localName === 'button' && e.click())"
    )
    page.wait("Object.keys(made).length === 3")
    read = "made[arguments[0]].text().then(arguments[1])"
    lines = browser.execute_async_script(read, "text/csv").splitlines()
    assert lines[0] == "run,source,quantity,layer,step,value"
    assert '"treated","per_sample","snr","net/layer1",0,20' in lines
    assert '"treated","per_sample","snr","head",0,inf' in lines
    assert any(line.endswith('""document.body.dataset.pwned=1"">",0,') for line in lines)
    assert len(lines) == 1 + 4 * STEPS
    picture = browser.execute_async_script(read, "image/svg+xml")
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert "data:image/png" in picture
    assert "var(--" not in picture
    size = "createImageBitmap(made['image/png']).then(b => arguments[0]([b.width, b.height]))"
    width, height = browser.execute_async_script(size)
    assert width > 2000
    assert height > 800


@fast
def test_dark_and_narrow(browser: Any, board: tuple[str, Path]) -> None:
    """TensorBoard's dark mode is followed at once, and nothing hangs over the edge of a narrow window."""
    page = Page(browser, board[0], f"{RUNS}treated")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.js(background) == "rgb(255, 255, 255)"
    page.do("parent.document.body.classList.add('dark-mode')")
    assert page.js(background) == "rgb(48, 48, 48)"
    browser.set_window_size(760, 900)
    try:
        page.wait("document.documentElement.scrollWidth <= window.innerWidth && window.innerWidth < 800")
    finally:
        browser.set_window_size(1280, 1000)
    assert page.errors() == []


def test_without_data(browser: Any, tmp_path: Path) -> None:
    """A foreign log directory gets an explanation, and the page shows what comes later."""
    other = RunWriter(tmp_path / "other", ())
    other.scalar(0, "loss", 1.0)
    other.close()
    with served(tmp_path) as address:
        page = Page(browser, address)
        page.hurry("document.body.innerText.includes('TensorBoard sees 1 run here, none with data of torchbp')")
        assert "GradientSNRMonitor()" in page.text("pre")
        run = RunWriter(tmp_path / "run", LAYERS[:1])
        run.stats(0, [1.0])
        run.close()
        page.hurry("document.querySelectorAll('article').length === 1")
        assert page.text("h2") == "1 of 1 quantum layer has a gradient lost in its noise"
        assert page.errors() == []


def test_a_missing_browser_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names what to install."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "apt install chromium chromium-driver" in missing() or "pip install selenium" in missing()
