"""The report in a real browser, headless Chromium: a claim is found, opened, and says where its number comes from.

Chromium is driven through its own debugging pipe, so that no other package is needed. Where it is not installed
(Debian's package is called chromium) these tests are skipped; `.ci/run` installs it.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium, and the page is tried")
PATIENCE = 60.0  # seconds; a loaded machine starts a browser slowly
# Chromium takes its commands from descriptor 3 and answers on 4.
ON_PIPES = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """A page of a running Chromium, by the Chrome DevTools Protocol: NUL-terminated JSON on two pipes."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands, self.answers, self.rest = commands, answers, b""
        self.ids = itertools.count(1)
        self.session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come in between are kept."""
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.answers], [], [], max(until - time.monotonic(), 0))
            assert ready, f"Chromium said nothing for {PATIENCE} s"
            part = os.read(self.answers, 1 << 16)
            assert part, "Chromium ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path) -> None:
        """Load a file and wait until it is there."""
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        loaded = f"location.href == {json.dumps(page.as_uri())} && document.readyState == 'complete'"
        until = time.monotonic() + PATIENCE
        while not self.evaluate(loaded):
            assert time.monotonic() < until, f"{page} was not loaded within {PATIENCE} s"
            time.sleep(0.02)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element, and see what follows drawn."""
        x, y = self.evaluate(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            "one.scrollIntoView({ block: 'center' }); const box = one.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        # Events such as `toggle` come after the click; once two frames are drawn they have.
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def press(self, key: str) -> None:
        """Press and release a key."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def errors(self) -> list[dict[str, Any]]:
        """What the console has to complain about."""
        self.evaluate("0")  # whatever was said before has arrived now
        return [
            event["params"]
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
            or (event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "warning"))
            or (event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] in ("error", "warning"))
        ]

    def requests(self) -> set[str]:
        """The schemes and the endings of everything that was asked for."""
        urls = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return {
            url.partition(":")[0] + ":" + (url.rpartition("/")[2] if url.startswith("file") else "") for url in urls
        }


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser, ended when the tests of this file are done."""
    assert CHROMIUM
    theirs, commands = os.pipe()
    answers, also_theirs = os.pipe()
    profile = tmp_path_factory.mktemp("chromium")
    started = [sys.executable, "-c", ON_PIPES, str(theirs), str(also_theirs), CHROMIUM]
    process = subprocess.Popen(
        [*started, *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(theirs, also_theirs),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    os.close(also_theirs)
    try:
        browser = Browser(commands, answers)
        yield browser
        browser.session = ""
        with contextlib.suppress(OSError, AssertionError):
            browser.call("Browser.close")
    finally:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(commands)
        os.close(answers)


@pytest.fixture
def page(chromium: Browser, built: Path) -> Browser:
    """The report of the honest folder, on a desktop's window."""
    chromium.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    chromium.open(built / "report.html")
    return chromium


def numbers(built: Path) -> dict[str, Any]:
    """What was built, by name."""
    return json.loads((built / "numbers.json").read_bytes())


def test_a_claim_is_found_opened_and_says_where_its_number_comes_from(page: Browser, built: Path):
    """A click on a claim's number shows its exact value, its expression, its records and their digests; no error."""
    assert page.evaluate("document.querySelector('#claim-wear-r2').innerText").startswith("wear-r2")
    page.click("#claim-wear-r2 td[data-column=value] button")
    shown = page.evaluate("document.querySelector('dialog[open]').innerText")
    number = numbers(built)["claims.wear-r2.value"]
    assert number["text"] in shown
    for part in (repr(number["value"]), number["expression"], "claims.wear-r2.value", "claims.wear-r2.value-low"):
        assert part in shown, part
    assert len(number["source"]) == 2
    for source in number["source"]:
        assert source.partition(" ")[2] in shown
    page.click("dialog li:last-child summary")
    opened = page.evaluate("document.querySelector('dialog[open]').innerText")
    files = json.loads((built / "build.json").read_bytes())["sources"]["sparse"]
    assert len(files) == 24
    for name, digest in files.items():
        assert f"{name} {digest}" in " ".join(opened.split())
    page.click("dialog form button")
    assert page.evaluate("document.querySelector('dialog[open]')") is None
    assert page.errors() == []


def test_every_number_can_be_opened(page: Browser, built: Path):
    """Each cell that numbers.json names is a button, and no cell that it does not name is one."""
    buttons = page.evaluate(
        "[...document.querySelectorAll('td button')].map(b => [b.closest('table').dataset.table,"
        "b.closest('tr').sectionRowIndex, b.textContent])"
    )
    cells = {(cell[0], cell[1]) for number in numbers(built).values() for cell in number["cells"]}
    assert {(table, row) for table, row, _ in buttons} == cells
    listed = [number["cells"][0] for number in numbers(built).values() if number["cells"]]
    shown = [cell for cell in listed if not cell[2].endswith((" low", " high"))]
    assert len(buttons) == len(shown)
    assert all(text[0] in "-0123456789" for _, _, text in buttons)


def test_a_number_within_a_text_can_be_opened(page: Browser, built: Path):
    """Each number that a claim states is a button of its own, and the text around it stays."""
    page.click("#claim-final-parameters td[data-column=statement] button:nth-of-type(2)")
    shown = page.evaluate("document.querySelector('dialog[open]').innerText")
    number = numbers(built)["claims.final-parameters.statement.2"]
    assert number["text"] == "210,000"
    for part in ("210000", number["expression"], "claims.json", "claims.final-parameters.statement.2"):
        assert part in shown, part
    text = page.evaluate("document.querySelector('#claim-final-parameters td[data-column=statement]').textContent")
    assert text == "After the last stage 180,000 to 210,000 parameters are left."
    assert page.errors() == []


def test_the_keyboard_does_it_too(page: Browser):
    """Tab goes to a table's numbers, arrows from number to number, Enter opens, Escape closes and leads back."""
    value = "td[data-column=value] button"
    page.evaluate(f"document.querySelector('#claim-final-parameters {value}').focus()")
    page.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('tr').id") == "claim-final-reduction"
    page.press("Enter")
    assert "claims.final-reduction.value" in page.evaluate("document.querySelector('dialog[open]').innerText")
    page.press("Escape")
    assert page.evaluate("document.querySelector('dialog[open]')") is None
    assert page.evaluate("document.activeElement.closest('tr').id") == "claim-final-reduction"
    for _ in range(40):  # past the links to the tables
        page.press("Tab")
        if page.evaluate("Boolean(document.activeElement.closest('#schedule'))"):
            break
    first = page.evaluate("document.activeElement.closest('td').cellIndex")
    page.press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('td').cellIndex") == first + 1
    page.press("ArrowLeft")
    assert page.evaluate("document.activeElement.closest('td').cellIndex") == first
    assert page.errors() == []


def test_the_page_asks_for_nothing(page: Browser):
    """The page and its images come from the one file: works without a network."""
    assert page.requests() <= {"file:report.html", "data:"}
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0 && one.alt)")


def test_another_script_does_not_run(chromium: Browser, built: Path, tmp_path: Path):
    """A script that came in with a name or a warning would be refused: the page allows the one it was built with."""
    text = (built / "report.html").read_text().replace("</body>", "<script>window.ran = true</script></body>")
    (tmp_path / "report.html").write_text(text)
    chromium.open(tmp_path / "report.html")
    assert chromium.evaluate("window.ran") is None
    assert chromium.evaluate("document.querySelectorAll('td button').length") > 100
    assert "Content Security Policy" in json.dumps(chromium.errors())


@pytest.mark.parametrize("width", [360, 390, 768])
def test_a_phone_does_not_scroll_the_page_sideways(page: Browser, width: int):
    """Wide tables scroll within themselves, and what opens fits on the screen."""
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=2, mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#claim-wear-r2 button")
    assert page.evaluate("document.querySelector('dialog').getBoundingClientRect().width") <= width
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= width
    page.click("dialog form button")
    page.call("Emulation.clearDeviceMetricsOverride")


def test_in_print_no_table_is_cut_off(page: Browser):
    """The page prints; on A4 every table fits the width of its sheet, portrait or landscape."""
    page.call("Emulation.setEmulatedMedia", media="print")
    millimetres = {False: 210 - 2 * 14, True: 297 - 2 * 10}
    cut = []
    for many, width in millimetres.items():
        pixels = int(width / 25.4 * 96)
        page.call("Emulation.setDeviceMetricsOverride", width=pixels, height=900, deviceScaleFactor=1, mobile=False)
        found = page.evaluate(
            "[...document.querySelectorAll('section')].map(s => [s.id, s.classList.contains('many'),"
            "s.querySelector('table').getBoundingClientRect().right])"
        )
        cut += [(name, right) for name, is_many, right in found if is_many == many and right > pixels + 1]
    page.call("Emulation.setEmulatedMedia", media="")
    assert cut == []
    assert base64.b64decode(page.call("Page.printToPDF", preferCSSPageSize=True)["data"]).startswith(b"%PDF")


def test_a_refused_report_has_no_script_to_fail(chromium: Browser, runs: Path, tmp_path: Path):
    """The page of refused records shows its findings, with nothing to open and no error."""
    from artifacts.build import build

    path = runs / "runs" / "sparse-f00-s0" / "history.csv"
    path.write_text(path.read_text() + "\n")
    assert not build(runs, tmp_path / "out").holds
    chromium.open(tmp_path / "out" / "report.html")
    assert "The audit fails" in chromium.evaluate("document.querySelector('#verdict').innerText")
    assert chromium.evaluate("document.querySelectorAll('button, dialog, script').length") == 0
    assert chromium.errors() == []
