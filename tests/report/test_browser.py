"""The page in a real browser: how soon it answers, what keys and links do, and hostile text.

Skipped where there is no chromium with its driver (`apt-get install chromium chromium-driver`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safegrpo.report import write_report
from tests.report.run_folder import GUIDED, evaluation, generation, judgement, metrics
from tests.report.test_report import hostile

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.keys import Keys  # noqa: E402

COUNT = 20_000
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
PAYLOAD = (
    "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
    "<svg onload=window.pwned=1><a href=javascript:window.pwned=1>\"' onclick=window.pwned=1 "
    "javascript:window.pwned=1 <!-- ]]> {{7*7}} \u2028 \x1b[31m"
)
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(event.violatedDirective + " " + event.blockedURI + " " + event.sample);
});
window.dialogs = 0;
for (const name of ["alert", "confirm", "prompt"]) window[name] = () => { window.dialogs += 1; };
"""
INJECTED = """
const script = document.createElement("script");
script.textContent = "window.pwned = 1";
document.body.append(script);
"""
# From navigation on: as soon as the filters are there one is used, and its answer waited for.
FIRST_FILTER = """
const watch = new MutationObserver(() => {
  const select = document.querySelector("#samples select[name=category]");
  const status = document.querySelector("#samples [role=status]");
  if (!select || !status || !status.textContent.includes(" of ")) return;
  watch.disconnect();
  window.allAnswers = status.textContent;
  select.selectedIndex = 2;
  select.dispatchEvent(new Event("change", { bubbles: true }));
  window.someAnswers = status.textContent;
  document.querySelector(".list").getBoundingClientRect();
  requestAnimationFrame(() => requestAnimationFrame(() => {
    window.answered = performance.now();
    window.entries = document.querySelectorAll(".entry").length;
  }));
});
watch.observe(document, { childList: true, subtree: true });
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium with chromedriver here; apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.chrome.service.Service(DRIVER))
    driver.set_window_size(1280, 900)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 20,000 answers, each of about 1,500 characters."""
    folder = tmp_path_factory.mktemp("large")
    filler = "The made-up thing is made up, and so is all that is said of it here. " * 16
    rows, said = [], []
    for i in range(COUNT // 2):
        for mode in ("guided", "direct"):
            text = (GUIDED if mode == "guided" else "Sure.") + f" {filler} n{i}."
            item = {"category": f"Made-up harm {i % 10}"}
            rows.append(generation(i, mode, item=item, response=text))
            safe = (i + (mode == "direct")) % 3 > 0
            label = "refusal" if safe else "compliance"
            tags = {"visual": "safe", "text": "safe", "combined": "unsafe"}
            said.append(judgement(i, mode, safe=safe, refused=safe, label=label, tags=tags))
    started = time.monotonic()
    page = write_report(evaluation(folder / "run", metrics(), rows, said))
    assert time.monotonic() - started < 60
    return page


def run(browser: Any, script: str, *given: Any) -> Any:
    return browser.execute_script(script, *given)


def until(browser: Any, script: str, seconds: float = 10) -> Any:
    """What `script` returns once that is true."""
    end = time.monotonic() + seconds
    while not (found := run(browser, script)):
        assert time.monotonic() < end, f"never true: {script}"
        time.sleep(0.02)
    return found


def before_page(browser: Any, script: str) -> str:
    given = {"source": script}
    done = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", given)
    return str(done["identifier"])


def after_page(browser: Any, identifier: str) -> None:
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": identifier})


def opened(browser: Any, page: Path, at: str = "") -> None:
    browser.get("about:blank")  # a mere change of the hash would not load it again
    browser.get(page.as_uri() + at)
    until(browser, "return document.documentElement.dataset.ready")


def shown(browser: Any) -> str:
    return str(until(browser, "return document.querySelector('.detail .meta')?.textContent"))


def test_first_filter_is_answered_within_two_seconds_of_navigation(
    browser: Any, large: Path
) -> None:
    watch = before_page(browser, FIRST_FILTER)
    times = []
    for _ in range(3):  # the best of three: the machine does other things too
        browser.get("about:blank")
        browser.get(large.as_uri())
        times.append(until(browser, "return window.answered", 20))
        if times[-1] < 2000:
            break
    after_page(browser, watch)
    print(f"{large.stat().st_size >> 20} MiB; first filter after {min(times):.0f} ms")
    assert min(times) < 2000, times
    assert run(browser, "return window.allAnswers") == "20,000 of 20,000 answers"
    assert run(browser, "return window.someAnswers") == "2,000 of 20,000 answers"
    assert 0 < run(browser, "return window.entries") < 40  # only what can be seen exists


def test_search_finds_words_of_an_answer_anywhere(browser: Any, large: Path) -> None:
    opened(browser, large)
    box = browser.find_element("css selector", "#samples input[type=search]")
    box.send_keys("N9876. sure")
    status = "return document.querySelector('#samples [role=status]').textContent"
    until(browser, f"{status} === '1 of 20,000 answers'")
    assert "q9876" in run(browser, "return document.querySelector('.entry .meta').textContent")
    run(browser, "document.querySelector('.filters button[type=reset]').click()")
    until(browser, f"{status} === '20,000 of 20,000 answers'")


def test_filters_hold_together(browser: Any, large: Path) -> None:
    opened(browser, large)
    choose = """
      for (const [name, text] of Object.entries(arguments[0])) {
        const select = document.querySelector(`#samples select[name=${name}]`);
        select.value = [...select.options].find((one) => one.textContent === text).value;
        select.dispatchEvent(new Event("change", { bubbles: true }));
      }
      return document.querySelector("#samples [role=status]").textContent;"""
    wanted = {"mode": "direct", "verdict": "rules: refusal", "odd": "guided and direct differ"}
    rows = [i for i in range(COUNT // 2) if (i + 1) % 3 > 0 and i % 3 == 0]
    assert run(browser, choose, wanted) == f"{len(rows):,} of 20,000 answers"


def test_what_is_shown_is_of_the_selection(browser: Any, large: Path) -> None:
    """The first that passes is opened; where nothing does, nothing is shown."""
    opened(browser, large)
    assert "q0" in shown(browser)
    box = browser.find_element("css selector", "#samples input[type=search]")
    box.send_keys("N9876. sure")
    until(browser, "return document.querySelector('.detail .meta').textContent.includes('q9876')")
    box.send_keys(" nothing-like-it")
    until(browser, "return document.querySelector('.body').textContent.startsWith('No answer')")
    assert run(browser, "return document.querySelectorAll('.entry').length") == 0
    run(browser, "document.querySelector('.filters button[type=reset]').click()")
    until(browser, "return document.querySelector('.detail .meta')?.textContent.includes('q0 ')")


def test_a_link_opens_its_answer(browser: Any, large: Path) -> None:
    opened(browser, large, "#s=run/set/q7777/direct/0")
    until(browser, "return document.querySelector('.detail .meta')?.textContent.includes('q7777')")
    assert "direct" in shown(browser)
    assert run(browser, "return document.querySelector('[aria-selected=true]').textContent")
    opened(browser, large, "#s=run/set/%")
    assert "not in this page" in run(
        browser, "return document.querySelector('#samples [role=status]').textContent"
    )


def test_keys_go_on_and_back_but_not_while_typing(browser: Any, large: Path) -> None:
    opened(browser, large)
    page = browser.find_element("css selector", "body")
    until(browser, "return document.querySelector('.place').textContent === '1 of 20,000'")
    page.send_keys("j" + "j" + Keys.ARROW_RIGHT + "k")
    until(browser, "return document.querySelector('.place').textContent === '3 of 20,000'")
    browser.find_element("css selector", "#list").send_keys(Keys.ARROW_DOWN)
    until(browser, "return document.querySelector('.place').textContent === '4 of 20,000'")
    assert run(browser, "return location.hash") == "#s=run/set/q1/direct/0"
    browser.find_element("css selector", "#samples input[type=search]").send_keys("jjj")
    assert run(browser, "return document.querySelector('.place').textContent") == "4 of 20,000"


def blur(browser: Any) -> str:
    until(browser, "return document.querySelector('.picture img')?.naturalWidth")
    return str(
        run(browser, "return getComputedStyle(document.querySelector('.picture img')).filter")
    )


def test_images_are_blurred_until_asked_for(browser: Any, large: Path) -> None:
    opened(browser, large)
    assert "blur" in blur(browser)
    browser.find_element("css selector", ".picture").send_keys(Keys.ENTER)  # by keyboard
    assert "blur" not in blur(browser)
    browser.find_element("css selector", "body").send_keys("j")
    until(browser, "return document.querySelector('.place').textContent === '2 of 20,000'")
    until(browser, "return document.querySelector('.picture[aria-pressed=false]')")
    assert "blur" in blur(browser)
    browser.find_element("css selector", ".above button").click()
    assert blur(browser) == "none"


def test_an_answer_is_shown_step_by_step(browser: Any, large: Path) -> None:
    opened(browser, large, "#s=run/set/q5/guided/0")
    until(browser, "return document.querySelector('.detail .meta')?.textContent.includes('q5')")
    heads = run(browser, "return [...document.querySelectorAll('.body h4')].map(h => h.innerText)")
    steps = ["Caption", "Image", "Text", "Image and text together", "Summary", "Answer"]
    assert heads[:6] == steps
    assert heads[-1] == "Judgements"


@pytest.mark.parametrize("width", [320, 360])
def test_a_phone_needs_no_scrolling_sideways(browser: Any, tmp_path: Path, width: int) -> None:
    page = write_report(
        evaluation(tmp_path / "run", metrics(), [generation()], [judgement()]),
        evaluation(tmp_path / ("long_name_" * 12), metrics(), [generation()], [judgement()]),
        output=tmp_path / "page.html",
    )
    size = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened(browser, page)
        run(browser, "for (const one of document.querySelectorAll('details')) one.open = true")
        assert run(browser, "return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_control_has_a_name(browser: Any, large: Path) -> None:
    opened(browser, large)
    until(browser, "return document.querySelector('.picture')")
    found = run(
        browser,
        """return [...document.querySelectorAll("button, select, input, [role], summary, svg")]
          .filter((one) => one.getAttribute("role") !== "presentation")
          .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() ||
            (one.labels && one.labels.length)) && one.getAttribute("role") !== "status")
          .map((one) => one.outerHTML.slice(0, 200))""",
    )
    assert found == []


def test_hostile_text_runs_nothing(browser: Any, tmp_path: Path) -> None:
    """In every field of every file, and in the folder's name; each answer is looked at."""
    folder = hostile(tmp_path, PAYLOAD, PAYLOAD.replace("/", "_")[:200])
    tame = hostile(tmp_path, "tame", "tame")
    counts = {}
    watch = before_page(browser, WATCH)
    try:
        for name, given in (("tame", tame), ("evil", folder)):
            opened(browser, write_report(given, output=tmp_path / f"{name}.html"))
            run(browser, "for (const one of document.querySelectorAll('details')) one.open = true")
            seen = []
            for _ in range(2):
                browser.find_element("css selector", "body").send_keys("j")
                until(browser, "return document.querySelector('.judged, .body > .meta')")
                time.sleep(0.1)
                seen.append(run(browser, "return document.querySelectorAll('*').length"))
            counts[name] = seen
            assert not run(browser, "return window.pwned")
            assert run(browser, "return window.dialogs") == 0
            assert run(browser, "return window.violations") == []
            links = "return [...document.links].map((one) => one.getAttribute('href')[0])"
            assert set(run(browser, links)) == {"#"}
            assert run(browser, "return document.images.length") <= 1
        # What such markup would come to if it got in: the policy stops it, and the watch sees that.
        run(browser, INJECTED)
        assert until(browser, "return window.violations.length")
        assert not run(browser, "return window.pwned")
    finally:
        after_page(browser, watch)
    assert counts["evil"] == counts["tame"]  # not one element more
    assert "<svg onload=" in browser.title
