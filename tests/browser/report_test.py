#!/usr/bin/env python3
"""Loads a report in headless Chromium, looks at the pictures it begins with, sorts and filters the matrix, opens its
groups, toggles a curve, chooses the heat maps' axes, points at marks, opens the answers behind a cell, filters all
pictures, copies the address, walks through with the Tab key, looks at it without scripts, and fails on any console
error, failed assertion or request to the network. With --why, what a cell opens is held against what that command
prints. With --time it only says how soon the page can be used.

The page of `sweep compare` will do as well.

    tests/browser/report_test.py REPORT.html [--screenshots DIR] [--why "sweep why DIR"] [--time]

Needs chromium and chromedriver (Debian: chromium, chromium-driver); without them it says so and exits 0.
Only the standard library is used: chromedriver speaks JSON over HTTP.
"""

import argparse
import base64
import json
import pathlib
import shlex
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
    def __init__(self, dark, scripts=True):
        self.base = f"http://127.0.0.1:{PORT}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        if dark:
            arguments += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
        options = {"args": arguments, "binary": shutil.which("chromium")}
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
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
return rows.map(r => r.cells[arguments[0]].textContent).filter(v => v !== '').map(parseFloat)"""
CLICK = "document.querySelectorAll('#points thead th')[arguments[0]].querySelector('button').click()"


def sorts(browser, title):
    column = browser.js(HEAD, title)
    check(column > 0, f"no column {title}")
    before = browser.js("return document.querySelectorAll('#points thead th')[arguments[0]].ariaSort", column)
    browser.js(CLICK, column)
    if before == "descending":
        browser.js(CLICK, column)
    falling = browser.js(COLUMN, column)
    check(len(falling) > 1 and falling == sorted(falling, reverse=True), f"{title} is not sorted: {falling[:5]}")
    browser.js(CLICK, column)
    rising = browser.js(COLUMN, column)
    check(rising == sorted(rising), f"{title} is not sorted the other way: {rising[:5]}")
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
    texts = browser.js("""return [...document.querySelectorAll('#fig-forest .dot')].map(d => d.dataset.tip)""")
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
    drawn = "return [...document.querySelectorAll('#learning figure')].map(f => f.querySelectorAll('g.series').length)"
    before = browser.js(drawn)
    box = """const box = [...document.querySelectorAll('input[data-point]')].find(b => !b.checked) ?? document.querySelector('input[data-point]');
        box.click(); return [box.checked, box.dataset.point]"""
    checked, point = browser.js(box)
    step = 1 if checked else -1
    after = browser.js(drawn)
    check(any(b - a == step for a, b in zip(before, after)), f"a tick does not switch the curve: {before}, {after}")
    browser.js(f"document.querySelector('input[data-point=\"{point}\"]').click()")
    check(browser.js(drawn) == before, "a second tick does not switch it back")
    top = "return document.querySelectorAll('#health g.series').length"
    first = browser.js(top)
    browser.js("document.querySelector('button[data-curves=none]').click()")
    check(not any(browser.js(drawn)), "a curve is left after hiding all")
    check(browser.js(top) == first > 0, "hiding all hides the curves at the top")
    browser.js("document.querySelector('button[data-curves=first]').click()")
    check(browser.js(drawn) == before, "the first curves do not come back")
    check(browser.js("return location.hash") == "", "the address keeps what is as it was")


def points_at_marks(browser):
    """Every picture's marks say what they are, by pointer and by keyboard; the arrow keys go through them."""
    tip = "return document.getElementById('tip').hidden ? null : document.getElementById('tip').textContent"
    figures = browser.js("return [...document.querySelectorAll('figure')].filter(f => f.getClientRects().length).map(f => f.id)")
    for figure in figures:
        point = f"""const mark = document.querySelector('#{figure} [data-tip][tabindex]');
            if (!mark) return null;
            mark.dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}})); return mark.dataset.tip"""
        said = browser.js(point)
        check(said and browser.js(tip) == said, f"{figure} says {said}")
        check(":" in said, f"{figure} says no value: {said}")
        browser.js(f"document.querySelector('#{figure} [tabindex=\"0\"]').focus()")
        check(browser.js(tip) == said, f"{figure} says nothing to the keyboard")
        press(browser, "ArrowRight", "ArrowRight", 39)
        place, left = browser.js(f"return [document.activeElement.dataset.tip, document.querySelectorAll('#{figure} [tabindex]').length]")
        check(left == 1 or browser.js(tip) == place != said, f"{figure}: the arrow key stays at {place}")
        check(browser.js(f"return document.querySelectorAll('#{figure} [tabindex=\"0\"]').length") == 1, f"{figure} is many stops of the Tab key")
    if "fig-forest" in figures and browser.js("return !!document.querySelector('#points td.v')"):
        said = browser.js("return document.querySelector('#fig-forest .dot').dataset.tip")
        check("quer" in said and "[" in said, f"without interval and number of queries: {said}")
    browser.js("document.activeElement.blur()")


def answers(browser, why):
    """A cell opens what `sweep why` prints, by click and by keyboard, and gives the focus back."""
    shot = browser.js("return [...document.querySelectorAll('#points thead th')].findIndex(h => h.textContent.startsWith('Shot '))")
    if shot < 0:
        return
    find = "[...document.querySelectorAll('#points tbody:not(.references) td:nth-child(%d)')].filter(c => c.getClientRects().length)" % (shot + 1)
    count = min(2, browser.js(f"return {find}.length") - 1)
    for place in range(count + 1):
        browser.js(f"{find}[{place}].click()")
        row, number = browser.js("return [...new URLSearchParams(location.hash.slice(1)).getAll('look')]")
        check(browser.js("return document.getElementById('look').open"), "a click on a cell opens nothing")
        text = browser.js("return document.getElementById('look').textContent")
        check(row in text, f"what is open is not about {row}: {text[:80]}")
        if why:
            printed = subprocess.run([*shlex.split(why), "--point", row, "--shot", number], capture_output=True, text=True, check=True).stdout
            lines = [line for line in printed.splitlines() if line.strip()]
            score = lines[0].rsplit(": ", 1)[1]
            check(score in text, f"{row}: {score} is not in {text[:300]}")
            for line in lines:
                if line.startswith("Against"):
                    check(line.replace(" ", "") in text.replace(" ", ""), f"{row}: `{line}` is not in {text}")
                elif line[0].isdigit():
                    words, ids = line.split(": ", 1)
                    check(words in text and ids in text, f"{row}: `{line}` is not in {text}")
        press(browser, "Escape", "Escape", 27)
        settle(browser, "return !document.getElementById('look').open && location.hash === ''", "Escape does not close")
    # By keyboard: to the next cell, and in.
    browser.js(f"const name = {find}[0].parentNode.querySelector('th'); name.tabIndex = 0; name.focus()")
    press(browser, "ArrowRight", "ArrowRight", 39)
    check(browser.js("return document.activeElement.tagName") == "TD", "the arrow key does not go to the next cell")
    press(browser, "Enter", "Enter", 13)
    check(browser.js("return document.getElementById('look').open"), "Enter opens nothing")
    press(browser, "Escape", "Escape", 27)
    settle(browser, "return !document.getElementById('look').open", "Escape does not close")
    check(browser.js("return document.activeElement.tagName") == "TD", "the focus does not come back to the cell")


def settle(browser, condition, message):
    for _ in range(40):
        if browser.js(condition):
            return
        time.sleep(0.05)
    raise AssertionError(message)


def filters_everything(browser):
    """A value of an axis leaves its rows, dots, cells and curves; the address says so, and a copy of it shows the same."""
    lists = browser.js("return document.querySelectorAll('#filters details').length")
    if not lists:
        return 0
    rows = "return [...document.querySelectorAll('#points tbody:not(.references)')].length"
    curves = "return [...document.querySelectorAll('#learning ul.legend li')].map(l => l.textContent)"
    forest = "return [...document.querySelectorAll('#fig-forest .dot[data-row]')].map(d => d.dataset.tip)"
    before = [browser.js(one) for one in (rows, curves, forest)]
    browser.js("document.querySelector('#filters summary').click(); document.querySelectorAll('#filters details:first-of-type input')[0].click()")
    only = browser.js("return [...new URLSearchParams(location.hash.slice(1))].filter(([key]) => key.startsWith('only.'))")
    check(len(only) == 1, f"the address does not keep the filter: {only}")
    said = browser.js("return document.getElementById('passing').textContent")
    known = browser.js("const d = JSON.parse(document.getElementById('data').textContent); return [d.names, d.at]")
    left = {name for name, at in zip(*known) if at[0] == 0}
    check(said.startswith(f"{len(left):,} of "), f"{said}, but {len(left)} pass")
    check(browser.js(rows) <= before[0], "the table has more rows than before")
    names = browser.js("return [...document.querySelectorAll('#points tbody:not(.group):not(.references) th')].map(h => h.textContent)")
    check(all(name in left for name in names), f"the table keeps {[n for n in names if n not in left]}")
    check(all(name.replace(" (baseline)", "") in left for name in browser.js(curves)), f"curves: {browser.js(curves)}")
    dots = browser.js("return [...document.querySelectorAll('#fig-forest .dot[data-row]')].map(d => d.dataset.row)")
    check(len(dots) <= len(before[2]) + 12 and (browser.js(forest) != before[2] or len(left) == len(known[0])), "the forest stays as it was")
    moved = browser.js("return [...document.querySelectorAll('#fig-movement [data-row]')].map(d => d.dataset.row)")
    check(all(name in left for name in moved), f"movement keeps {moved[:3]}")
    for figure in ("#fig-forest", "#fig-axes", "#fig-movement", "#fig-overlap"):
        check(browser.js("return [...document.querySelectorAll(arguments[0] + ' svg text')].every(t => !/NaN|undefined|Infinity/.test(t.textContent))", figure), f"{figure} has no numbers")
    # Everything that can be kept, in one address.
    browser.js("document.querySelector('#filters summary').click()")
    browser.js(CLICK, max(browser.js(HEAD, title) for title in ("val_loss", "moved")))
    if browser.js("return !!document.querySelector('tbody.group .open')"):
        browser.js("document.querySelector('tbody.group .open').click()")
    browser.js("document.querySelector('#points tbody tr:not(.group) th').click()")
    state = """return [location.hash, document.getElementById('passing').textContent, document.querySelectorAll('input.open:checked').length,
        [...document.querySelectorAll('#points thead th')].map(h => h.ariaSort), document.getElementById('look').textContent,
        [...document.querySelectorAll('#points tbody tr')].map(r => r.textContent)]"""
    first = browser.js(state)
    check(len(first[0].split("&")) >= 3, f"the address is only {first[0]}")
    browser.js("location.reload()")
    settle(browser, "return document.readyState === 'complete' && !!document.getElementById('tip')", "it does not load again")
    second = browser.js(state)
    for one, two in zip(first, second):
        check(one == two, f"the address does not bring back {str(one)[:200]}: {str(two)[:200]}")
    browser.js("document.getElementById('look').close()")
    # A link to a section keeps the state.
    browser.js("document.querySelector('nav a[href=\"#matrix\"]').click()")
    check("only." in browser.js("return location.hash"), "a link to a section loses the filter")
    browser.js("document.getElementById('clear').click()")
    check("only." not in browser.js("return location.hash"), "the filter is not cleared")
    check(sorted(browser.js(forest)) == sorted(before[2]), f"without the filter the forest is another one: {browser.js(forest)}, {before[2]}")
    return lists


def without_scripts(page):
    """Pictures, findings and the matrix are there, and groups open."""
    browser = Browser(False, scripts=False)
    try:
        browser.post("/url", {"url": page.resolve().as_uri()})
        for part in ("#picture figure svg", "#findings li", "#points tbody tr"):
            found = browser.post("/elements", {"using": "css selector", "value": part})
            check(found, f"without scripts there is no {part}")
        box = browser.post("/elements", {"using": "css selector", "value": "#filters"})[0]
        shown = browser.call("GET", f"{browser.session}/element/{list(box.values())[0]}/displayed")
        check(not shown, "without scripts there is a bar that does nothing")
    finally:
        browser.close()


def first_use(page):
    """Milliseconds until the page is loaded, and that the first filter takes until it is drawn."""
    browser = Browser(False)
    try:
        browser.post("/url", {"url": page.resolve().as_uri()})
        loaded = browser.js("return performance.getEntriesByType('navigation')[0].loadEventEnd")
        script = """const done = arguments[0], began = performance.now();
            document.querySelector('#filters input').click();
            requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)))"""
        used = browser.post("/execute/async", {"script": script, "args": []})
        return loaded, used
    finally:
        browser.close()


def fits(browser):
    width = browser.js("return [document.documentElement.scrollWidth, window.innerWidth]")
    check(width[0] <= width[1] + 1, f"the page is wider than the window: {width}")


def load(browser, page, width, screenshot, why):
    browser.post("/window/rect", {"width": width, "height": 1600})
    # Chromium's windows are at least 500 wide; a narrower screen is set in the page's own terms.
    metrics = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.post("/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})
    browser.post("/url", {"url": page.resolve().as_uri()})
    started = time.monotonic()
    fits(browser)
    if browser.js("return !document.getElementById('provenance')"):
        compared(browser)
    else:
        report(browser, why)
    check(time.monotonic() - started < 60, "the page is slow")
    if screenshot:
        shot = browser.post("/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": {"captureBeyondViewport": True}})
        screenshot.write_bytes(base64.b64decode(shot["data"]))
    requests = browser.js("return performance.getEntriesByType('resource').map(e => e.name)")
    check(not [name for name in requests if not name.startswith("data:")], f"requests: {requests}")
    errors = [entry for entry in browser.post("/se/log", {"type": "browser"}) if entry["level"] in ("SEVERE", "WARNING")]
    check(not errors, f"console: {errors}")


def compared(browser):
    """The page of `sweep compare`: what it shares with a report, and the commands behind a row."""
    sorts(browser, "moved")
    browser.js("history.replaceState(null, '', location.href.split('#')[0]); location.reload()")
    settle(browser, "return document.readyState === 'complete' && !!document.getElementById('tip')", "it does not load again")
    filters(browser)
    points_at_marks(browser)
    browser.js("document.querySelector('#points tbody th').click()")
    commands = browser.js("return document.querySelector('#look .command').textContent.split('\\n')")
    check(all(one.startswith("sweep why ") for one in commands), f"a row opens {commands}")
    browser.js("document.getElementById('look').close()")
    settle(browser, "return location.hash === ''", "the address keeps what is closed")
    filters_everything(browser)


def report(browser, why):
    """The page of `sweep report`."""
    pictures(browser)
    if browser.js("return !!document.querySelector('#points tbody tr td.v')"):
        sorts(browser, "average")
    sorts(browser, "val_loss")
    browser.js("history.replaceState(null, '', location.href.split('#')[0]); location.reload()")
    settle(browser, "return document.readyState === 'complete' && !!document.getElementById('tip')", "it does not load again")
    has_visible_focus(browser)
    filters(browser)
    toggles(browser)
    points_at_marks(browser)
    opens_groups(browser)
    answers(browser, why)
    chooses_axes(browser)
    filters_everything(browser)


def main():
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        print("skipped: chromium and chromedriver are not installed")
        return 0
    parser = argparse.ArgumentParser()
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path)
    parser.add_argument("--why", help="the command that prints what a cell opens")
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    page, shots = given.page, given.screenshots
    driver = subprocess.Popen(["chromedriver", f"--port={PORT}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/status", timeout=1).read()
                break
            except OSError:
                time.sleep(0.1)
        if given.time:
            times = [first_use(page) for _ in range(5)]
            loaded, used = (min(one) for one in zip(*times))
            print(f"{page}: {page.stat().st_size / 1e6:.2f} MB, loaded after {loaded:.0f} ms, a first filter drawn after {used:.0f} ms (the quickest of 5)")
            return 0
        without_scripts(page)
        for dark in (False, True):
            browser = Browser(dark)
            try:
                for width in (1400, 390):
                    name = f"report-{width}-{'dark' if dark else 'light'}.png"
                    load(browser, page, width, shots and shots / name, given.why)
            finally:
                browser.close()
    finally:
        driver.terminate()
        driver.wait()
    print(f"{page}: pictures stand, groups open, matrix sorts and filters, curves switch, axes can be chosen, marks and cells say what is behind them, filters reach every picture, the address keeps the state, focus is seen, no console errors (1400 and 390 pixels, light and dark)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
