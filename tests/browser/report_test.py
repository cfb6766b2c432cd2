#!/usr/bin/env python3
"""Loads a report in headless Chromium, sorts and filters the matrix, toggles a curve, chooses the heat maps' axes,
walks through with the Tab key, and fails on any console error, failed assertion or request to the network.

    tests/browser/report_test.py REPORT.html [--screenshots DIR]

Needs chromium and chromedriver (Debian: chromium, chromium-driver); without them it says so and exits 0.
Only the standard library is used: chromedriver speaks JSON over HTTP.
"""

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request

PORT = 9583


class Browser:
    def __init__(self, dark):
        self.base = f"http://127.0.0.1:{PORT}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        if dark:
            arguments += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.session = f"/session/{answer['sessionId']}"

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["value"]

    def post(self, path, body):
        return self.call("POST", self.session + path, body)

    def js(self, script, *arguments):
        return self.post("/execute/sync", {"script": script, "args": list(arguments)})

    def close(self):
        self.call("DELETE", self.session)


def check(condition, message):
    if not condition:
        raise AssertionError(message)


HEAD = "return [...document.querySelectorAll('#points thead th')].findIndex(h => h.textContent.trim() === arguments[0])"
COLUMN = """const rows = [...document.querySelectorAll('#points tbody tr:not(.reference)')];
return rows.map(r => r.cells[arguments[0]].dataset.v).filter(v => v !== undefined).map(Number)"""
CLICK = "document.querySelectorAll('#points thead th')[arguments[0]].querySelector('button').click()"


def sorts(browser, title):
    column = browser.js(HEAD, title)
    check(column > 0, f"no column {title}")
    before = browser.js(COLUMN, column)
    browser.js(CLICK, column)
    falling = browser.js(COLUMN, column)
    check(falling == sorted(before, reverse=True), f"{title} is not sorted: {falling[:5]}")
    browser.js(CLICK, column)
    check(browser.js(COLUMN, column) == sorted(before), f"{title} is not sorted the other way")
    order = browser.js("return document.querySelectorAll('#points thead th')[arguments[0]].ariaSort", column)
    check(order == "ascending", f"the header says {order}")


def filters(browser):
    fill = "const f = document.getElementById('filter'); f.value = arguments[0]; f.dispatchEvent(new Event('input'))"
    visible = """return [...document.querySelectorAll('#points tbody tr:not(.reference)')]
        .filter(r => !r.hidden).map(r => r.querySelector('th').textContent)"""
    browser.js(fill, "no such point")
    check(browser.js(visible) == [], "the filter leaves rows")
    browser.js(fill, "frozen")
    check(not [name for name in browser.js(visible) if "unfrozen" in name], "frozen finds unfrozen")
    browser.js(fill, "")
    check(len(browser.js(visible)) > 0, "an empty filter hides rows")


def chooses_axes(browser):
    """Every choice shows the maps of exactly these two axes; taking the other one's axis swaps the two."""
    options = browser.js("return [...document.querySelectorAll('#axis-one option')].map(o => o.value)")
    if not options:
        return 0
    check(browser.js("return !document.getElementById('axes').hidden"), "the choice of axes is hidden")
    choose = """const select = document.getElementById(arguments[0]); select.value = arguments[1];
        select.dispatchEvent(new Event('change'));
        return ['axis-one', 'axis-two'].map(id => document.getElementById(id).value)"""
    shown = """return [...document.querySelectorAll('figure[data-down]')]
        .filter(f => getComputedStyle(f).display !== 'none').map(f => [f.dataset.down, f.dataset.across])"""
    for one in options:
        for two in options:
            before = browser.js(choose, "axis-one", one)
            chosen = browser.js(choose, "axis-two", two)
            check(chosen == ([one, two] if one != two else [before[1], two]), f"{one}, {two}: {chosen} is chosen")
            maps = browser.js(shown)
            check(maps and all(set(pair) == set(chosen) for pair in maps), f"{chosen} shows {maps}")
    browser.js(choose, "axis-one", options[0])
    browser.js(choose, "axis-two", options[1])
    return len(options)


def has_visible_focus(browser):
    """Tab visits links, filter, column heads and ticks in the order of the page, each with an outline."""
    # The first Tab goes to the first link of the page, wherever the focus was.
    browser.js("document.activeElement.blur(); window.scrollTo(0, 0)")
    visited = []
    for _ in range(40):
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
            browser.post("/goog/cdp/execute", {"cmd": "Input.dispatchKeyEvent", "params": event})
        visited.append(browser.js("""const e = document.activeElement;
            return [e.tagName, getComputedStyle(e).outlineStyle, [...document.querySelectorAll('*')].indexOf(e)]"""))
    # After the last element of a short page comes the window itself.
    end = next((place for place, (name, _, _) in enumerate(visited) if name == "BODY"), len(visited))
    visited = visited[:end]
    check(all(outline != "none" for _, outline, _ in visited), f"focus cannot be seen: {visited}")
    names = [name for name, _, _ in visited]
    check(names[:1] == ["A"] and "INPUT" in names and "BUTTON" in names, f"Tab visits {names}")
    order = [place for _, _, place in visited]
    check(order == sorted(order), f"Tab jumps: {visited}")


def toggles(browser):
    point = browser.js("return document.querySelector('g.series[data-point]').dataset.point")
    hidden = f"return getComputedStyle(document.querySelector('g.series[data-point=\"{point}\"]')).display"
    before = browser.js(hidden)
    browser.js(f"document.querySelector('input[data-point=\"{point}\"]').click()")
    check(browser.js(hidden) != before, "a tick does not switch the curve")
    browser.js("document.querySelector('button[data-curves=none]').click()")
    check(browser.js(hidden) == "none", "a curve is left after hiding all")
    browser.js("document.querySelector('button[data-curves=first]').click()")


def fits(browser):
    width = browser.js("return [document.documentElement.scrollWidth, window.innerWidth]")
    check(width[0] <= width[1] + 1, f"the page is wider than the window: {width}")


def load(browser, page, width, screenshot):
    browser.post("/window/rect", {"width": width, "height": 1600})
    # Chromium's windows are at least 500 wide; a narrower screen is set in the page's own terms.
    metrics = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.post("/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})
    browser.post("/url", {"url": page.resolve().as_uri()})
    started = time.monotonic()
    fits(browser)
    if browser.js("return !!document.querySelector('#points tbody tr td.v')"):
        sorts(browser, "average")
    sorts(browser, "val_loss")
    filters(browser)
    toggles(browser)
    chooses_axes(browser)
    has_visible_focus(browser)
    check(time.monotonic() - started < 20, "the page is slow")
    if screenshot:
        shot = browser.post("/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": {"captureBeyondViewport": True}})
        screenshot.write_bytes(base64.b64decode(shot["data"]))
    requests = browser.js("return performance.getEntriesByType('resource').map(e => e.name)")
    check(not [name for name in requests if not name.startswith("data:")], f"requests: {requests}")
    errors = [entry for entry in browser.post("/se/log", {"type": "browser"}) if entry["level"] in ("SEVERE", "WARNING")]
    check(not errors, f"console: {errors}")


def main():
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        print("skipped: chromium and chromedriver are not installed")
        return 0
    page = pathlib.Path(sys.argv[1])
    shots = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
    driver = subprocess.Popen(["chromedriver", f"--port={PORT}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/status", timeout=1).read()
                break
            except OSError:
                time.sleep(0.1)
        for dark in (False, True):
            browser = Browser(dark)
            try:
                for width in (1400, 390):
                    name = f"report-{width}-{'dark' if dark else 'light'}.png"
                    load(browser, page, width, shots and shots / name)
            finally:
                browser.close()
    finally:
        driver.terminate()
        driver.wait()
    print(f"{page}: matrix sorts and filters, curves switch, axes can be chosen, focus is seen, no console errors (1400 and 390 pixels, light and dark)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
