#!/usr/bin/env python3
"""Loads a report in headless Chromium, looks at the pictures it begins with, sorts and filters the matrix, opens its
groups, toggles a curve, chooses the heat maps' axes, walks through with the Tab key, and fails on any console error, failed assertion or request to the network.

    tests/browser/report_test.py REPORT.html [--screenshots DIR]

Needs chromium and chromedriver (Debian: chromium, chromium-driver); without them it says so and exits 0.
Only the standard library is used: chromedriver speaks JSON over HTTP.
"""

import base64
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

# Whichever is free: another test may be at work on this machine.
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    PORT = probe.getsockname()[1]


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
# A result is a body: of a group its own row, which comes first.
COLUMN = """const rows = [...document.querySelectorAll('#points tbody:not(.references)')].map(b => b.rows[0]);
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
    visible = """return [...document.querySelectorAll('#points tbody:not(.references) tr:not(.group)')]
        .filter(r => !r.hidden && !r.parentNode.hidden).map(r => r.querySelector('th').textContent)"""
    browser.js(fill, "no such point")
    check(browser.js(visible) == [], "the filter leaves rows")
    browser.js(fill, "frozen")
    check(not [name for name in browser.js(visible) if "unfrozen" in name], "frozen finds unfrozen")
    browser.js(fill, "")
    check(len(browser.js(visible)) > 0, "an empty filter hides rows")


def opens_groups(browser):
    """A group is one row until its box is ticked, by keyboard, in either table; a filter shows the members it finds."""
    groups = browser.js("return document.querySelectorAll('tbody.group').length")
    if not groups:
        return 0
    members = """return [...document.querySelectorAll('tbody.group')[0].querySelectorAll('tr.member')]
        .map(r => r.getClientRects().length > 0)"""
    check(not any(browser.js(members)), "a closed group shows its members")
    browser.js("document.querySelector('tbody.group .open').focus()")
    press(browser, " ", "Space", 32)
    opened = browser.js(members)
    check(len(opened) > 1 and all(opened), f"the space bar does not open a group: {opened}")
    said = browser.js("return document.querySelector('tbody.group th').textContent")
    check(f"{len(opened)} " in said.split(":")[-1], f"{said} has {len(opened)} members")
    press(browser, " ", "Space", 32)
    check(not any(browser.js(members)), "the space bar does not close a group")
    name = browser.js("return document.querySelector('tbody.group tr.member th').textContent")
    fill = "const f = document.getElementById('filter'); f.value = arguments[0]; f.dispatchEvent(new Event('input'))"
    browser.js(fill, name)
    found = browser.js(members)
    check(found[0] and not all(found), f"the filter {name} finds {found}")
    browser.js(fill, "")
    check(not any(browser.js(members)), "after a filter the group stays open")
    return groups


def pictures(browser):
    """The forest plot holds every kind of row, in order, inside its frame; nothing is written over anything else."""
    if not browser.js("return !!document.querySelector('#fig-forest')"):
        return
    check(browser.js("return document.querySelector('#picture').getBoundingClientRect().top < 400"), "the picture is far down")
    texts = browser.js("""return [...document.querySelectorAll('#fig-forest .dot')].map(d => d.querySelector('title').textContent)""")
    if browser.js("return !!document.querySelector('#points tr.baseline')"):
        check(any("baseline" in text for text in texts), f"no baseline among {texts}")
    for reference in browser.js("return [...document.querySelectorAll('#points tr.reference th')].map(h => h.textContent)"):
        check(any(text.startswith(reference + ":") for text in texts), f"no {reference} among {texts}")
    # From best to worst: accuracies fall, losses rise.
    places = browser.js("""return [...document.querySelectorAll('#fig-forest .dot')].map(d => {
        const box = d.querySelector('circle, path').getBoundingClientRect(); return box.left + box.width / 2 })""")
    pairs = list(zip(places, places[1:]))
    in_order = all(a >= b - 4 for a, b in pairs) or all(a <= b + 4 for a, b in pairs)
    check(in_order, f"the forest is not in order: {places}")
    inside = """const frame = document.querySelector(arguments[0] + ' svg').getBoundingClientRect();
        return [...document.querySelectorAll(arguments[0] + ' svg *')].filter(e => e.getBBox && e.tagName !== 'title').map(e => [e.tagName, e.textContent, e.getBoundingClientRect()])
        .filter(([, , b]) => b.left < frame.left - 1 || b.right > frame.right + 1 || b.bottom > frame.bottom + 1).map(([name, text]) => name + ' ' + text)"""
    over = """const boxes = [...document.querySelectorAll(arguments[0] + ' text')].map(e => [e.textContent, e.getBoundingClientRect()]);
        const hits = []; boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
            if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 3 && q.top < p.bottom - 3) hits.push(a + ' | ' + b) }));
        return hits"""
    for figure in ("#fig-forest", "#fig-axes"):
        if browser.js("return !!document.querySelector(arguments[0])", figure):
            outside = browser.js(inside, figure)
            check(not outside, f"outside of {figure}: {outside}")
            hits = browser.js(over, figure)
            check(not hits, f"written over each other in {figure}: {hits}")
    # What can be told apart is in colour, what cannot is not.
    colours = browser.js("""return [...document.querySelectorAll('.dot line')].map(l =>
        [l.parentNode.classList.contains('better') || l.parentNode.classList.contains('worse'), getComputedStyle(l).stroke])""")
    plain = {colour for told, colour in colours if not told}
    check(not plain & {colour for told, colour in colours if told}, f"the colours tell nothing: {colours}")


def press(browser, key, code, number):
    for kind in ("keyDown", "keyUp"):
        event = {"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number}
        if kind == "keyDown" and key == " ":
            event["text"] = " "
        browser.post("/goog/cdp/execute", {"cmd": "Input.dispatchKeyEvent", "params": event})


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
        press(browser, "Tab", "Tab", 9)
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
    point = browser.js("return document.querySelector('#learning g.series[data-point]').dataset.point")
    hidden = f"return getComputedStyle(document.querySelector('#learning g.series[data-point=\"{point}\"]')).display"
    before = browser.js(hidden)
    browser.js(f"document.querySelector('input[data-point=\"{point}\"]').click()")
    check(browser.js(hidden) != before, "a tick does not switch the curve")
    browser.js("document.querySelector('button[data-curves=none]').click()")
    check(browser.js(hidden) == "none", "a curve is left after hiding all")
    first = "return [...document.querySelectorAll('#health g.series')].filter(s => getComputedStyle(s).display === 'none').length"
    check(browser.js(first) == 0, "hiding all hides the curves at the top")
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
    pictures(browser)
    if browser.js("return !!document.querySelector('#points tbody tr td.v')"):
        sorts(browser, "average")
    sorts(browser, "val_loss")
    filters(browser)
    toggles(browser)
    chooses_axes(browser)
    has_visible_focus(browser)
    opens_groups(browser)
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
    print(f"{page}: pictures stand, groups open, matrix sorts and filters, curves switch, axes can be chosen, focus is seen, no console errors (1400 and 390 pixels, light and dark)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
