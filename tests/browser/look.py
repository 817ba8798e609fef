"""Opens reports in a headless Chromium; README.md beside this file says what is checked.

    python3 tests/browser/look.py target/release/vgan-cuda --shots /tmp/shots
"""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from playwright.sync_api import sync_playwright

NARROW = "--batch 16 --set generator.channels=16,8 --set generator.hidden=64 --set discriminator.channels=8,16 --set discriminator.hidden=64".split()
HOSTILE = "<img src=x onerror=alert(1)><b>bold"

# Texts in charts that lie outside of their chart or over each other, and whatever is wider than the page.
MISPLACED = """() => {
  const problems = [];
  for (const chart of document.querySelectorAll('.chart')) {
    const box = chart.getBoundingClientRect();
    const texts = [...chart.querySelectorAll('text')].map((text) => [text.textContent, text.getBoundingClientRect()]);
    texts.forEach(([name, a], index) => {
      if (a.left < box.left - 1 || a.right > box.right + 1 || a.bottom > box.bottom + 1 || a.top < box.top - 1) problems.push(`outside: ${name}`);
      for (const [other, b] of texts.slice(index + 1)) {
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3) problems.push(`over each other: ${name}, ${other}`);
      }
    });
  }
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width + 1) problems.push(`the page is ${document.documentElement.scrollWidth} wide, the window ${width}`);
  for (const image of document.images) if (!image.complete || image.naturalWidth === 0) problems.push(`not decoded: ${image.alt}`);
  return problems;
}"""


class Browser:
    def __init__(self, browser, shots):
        self.browser, self.shots = browser, shots

    def open(self, url, width=1280, scheme="light"):
        page = self.browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.problems = []
        page.on("console", lambda message: page.problems.append(f"console: {message.text}") if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (page.problems.append("a script of the run's ran"), dialog.dismiss()))
        allowed = re.compile(r"^(data:|" + re.escape(url.rstrip("/")) + ")")
        page.on("request", lambda request: page.problems.append(f"request: {request.url[:80]}") if not allowed.match(request.url) else None)
        page.goto(url)
        page.wait_for_selector("footer")
        page.wait_for_timeout(200)
        return page

    def looks(self, url, name):
        """Light and dark, wide and narrow: a screenshot of each, and nothing out of place."""
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                page = self.open(url, width, scheme)
                page.screenshot(path=self.shots / f"{name}-{width}-{scheme}.png", full_page=True)
                problems = page.problems + page.evaluate(MISPLACED)
                assert not problems, f"{name}, {width} wide, {scheme}: {problems}"
                page.close()
        print(f"{name}: 4 screenshots, nothing out of place")


def check_values(browser, url, run):
    """The values at the cursor are those of stats.jsonl; smoothing and the logarithmic axis draw without an error."""
    page = browser.open(url)
    records = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    chart = page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    chart.focus()
    page.keyboard.press("Home")
    tip = lambda: page.locator(".tip:visible").inner_text()
    for index in (0, 1):
        text = tip().replace(",", "")
        record = records[index]
        assert f"step {record['step']}" in text, text
        shown = [float(value) for value in re.findall(r"(?:discriminator|generator)\s+(-?[\d.e+-]+)", text)]
        for value, key in zip(shown, ("loss_d", "loss_g"), strict=True):
            assert abs(value - record[key]) <= 6e-4 * abs(record[key]), f"{key}: {value} instead of {record[key]}"
        page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    assert f"step {records[-1]['step']}" in tip().replace(",", "")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 16, box["y"] + 60)
    assert f"step {records[-1]['step']}" in tip().replace(",", "")
    page.screenshot(path=browser.shots / "values.png")
    page.locator("select").select_option("5")
    page.locator("input[type=checkbox]").check()
    page.screenshot(path=browser.shots / "smoothed-log.png", full_page=True)
    problems = page.problems + page.evaluate(MISPLACED)
    assert not problems, problems
    page.close()
    print("values: pointer and keys show those of stats.jsonl; smoothed and logarithmic, nothing out of place")


def check_slider(browser, url):
    page = browser.open(url)
    slider = page.locator("input[type=range]")
    count = int(slider.get_attribute("max")) + 1
    seen = set()
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(count):
        seen.add(page.locator(".pictures img").first.get_attribute("src"))
        page.keyboard.press("ArrowRight")
    assert len(seen) == count > 2, f"{len(seen)} pictures at {count} places"
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(1000)
    assert "before" not in page.locator("output").inner_text()
    assert not page.problems, page.problems
    page.close()
    print(f"slider: {count} snapshots")


def check_hostile(browser, url):
    page = browser.open(url)
    page.wait_for_timeout(500)
    found = page.evaluate("() => [document.querySelectorAll('b').length, [...document.images].filter((i) => i.getAttribute('src') === 'x').length]")
    assert page.locator("h1").inner_text() == HOSTILE and found[1] == 0, found
    assert not page.problems, page.problems
    page.close()
    print("hostile names: shown as text")


def check_live(browser, program, folder):
    command = [program, "train", "quick", *NARROW, "--steps", "1000000", "--tick", "5", "--snap", "50", "--serve", "--outdir", folder]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    url = next(line.split()[-1] for line in child.stderr if line.startswith("live page: "))
    try:
        # Enough for the curves to begin.
        time.sleep(5)
        page = browser.open(url)
        step = lambda: int(page.evaluate("() => data && page.curves.charts.get('Loss').panel.lines[0].x.at(-1)"))
        before = step()
        page.wait_for_timeout(8000)
        assert step() > before, "no news"
        assert not page.problems, page.problems
        page.screenshot(path=browser.shots / "live.png", full_page=True)
        child.send_signal(signal.SIGINT)
        child.wait(timeout=30)
        page.wait_for_selector("text=No answer from the run", timeout=15000)
        page.close()
        print("live: follows the run, and says when it has ended")
    finally:
        child.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--shots", type=pathlib.Path, required=True)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    arguments.shots.mkdir(parents=True, exist_ok=True)
    program = str(pathlib.Path(arguments.program).resolve())
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        folder = pathlib.Path(folder)
        chromium = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        browser = Browser(chromium, arguments.shots)
        call = lambda *words: subprocess.run([program, *map(str, words)], check=True, capture_output=True)

        def trained(name, *words):
            call("train", "quick", *NARROW, "--outdir", folder / name, *words)
            (run,) = (folder / name).iterdir()
            return run

        one = trained("one", "--steps", 600, "--tick", 10, "--snap", 50, "--seed", 1)
        # Of what samples are measured to be, the page draws what metrics.jsonl has.
        setup = {"samples": 9, "seed": 0, "reals": 9, "data": "d"}
        steps = range(0, 601, 100)
        metrics = "".join(json.dumps({"step": step, **setup, "fcd": 300 / (1 + step / 100)}) + "\n" for step in steps)
        (one / "metrics.jsonl").write_text(metrics)
        call("report", one)
        url = (one / "report.html").as_uri()
        browser.looks(url, "one")
        check_values(browser, url, one)
        check_slider(browser, url)
        two = trained("two", "--steps", 400, "--tick", 10, "--set", "bottleneck.enabled=false", "--desc", "a-plain-gan")
        three = trained("three", "--steps", 300, "--tick", 10, "--set", "loss=wgan", "--set", "penalty=wgan-gp", "--set", "discriminator.norm=none")
        call("report", one, two, three, "--output", folder / "several.html")
        browser.looks((folder / "several.html").as_uri(), "several")
        hostile = one.with_name(HOSTILE)
        one.rename(hostile)
        (hostile / "env.json").write_text(json.dumps([{"device": HOSTILE, HOSTILE: "</script><script>alert(1)</script>"}]))
        call("report", hostile, "--no-nearest", "--output", folder / "hostile.html")
        check_hostile(browser, (folder / "hostile.html").as_uri())
        check_live(browser, program, folder / "live")


main()
