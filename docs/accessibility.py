"""The pages of the browser of scores before axe, a checker of accessibility, in a real browser, light and dark.

    python -m docs.accessibility --axe axe.min.js [--address http://127.0.0.1:4000] [--chromium FILE]

`ple ui` serves the address. axe is no part of this software: `npm install axe-core` in a folder of your own brings the
file (node_modules/axe-core/axe.min.js). Needs playwright (extra `docs`) and a Chromium. Ends with 1 where axe finds a
violation, or where the keyboard alone does not reach the forms, a list and a customer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
COUNTED = """violations: r.violations.map(v => [v.id, v.impact, v.help, v.nodes.map(n => n.html.slice(0, 160))]),
    incomplete: r.incomplete.map(v => [v.id, v.nodes.length]), passes: r.passes.length"""
RUN = f"async () => {{ const r = await axe.run(document); return {{ {COUNTED} }} }}"
CONTRAST = (
    f"async () => {{ const r = await axe.run(document, {{runOnly: ['color-contrast']}}); return {{ {COUNTED} }} }}"
)
UNROLLED = "() => document.querySelectorAll('.scroll').forEach(d => { d.style.overflow = 'visible' })"


def pages(page: Page, address: str) -> dict[str, str]:
    """Name → address of what is checked: the start, a list, a customer, an unknown one, a refusal."""
    page.goto(address)
    listed = page.locator("table a[href^='/list']").nth(0).get_attribute("href") or ""
    page.goto(urljoin(address, listed))
    one = page.locator("table a[href^='/customer']").nth(0).get_attribute("href") or ""
    found = {"start": "/", "list": listed, "customer": one, "unknown": "/customer?id=nobody", "refused": "/?x=1"}
    return {name: urljoin(address, path) for name, path in found.items()}


def checked(browser: Browser, address: str, axe: str) -> int:
    """Violations over all pages, colours and widths; each is printed."""
    count = 0
    for colours in ("light", "dark"):
        for width, size in (("desktop", DESKTOP), ("phone", PHONE)):
            context = browser.new_context(color_scheme=colours, viewport=size, bypass_csp=True)
            page = context.new_page()
            page.set_default_timeout(120_000)
            for name, where in pages(page, address).items():
                page.goto(where)
                page.evaluate("() => document.querySelectorAll('details').forEach(d => { d.open = true })")
                page.evaluate(axe)
                found = page.evaluate(RUN)
                page.evaluate(UNROLLED)  # of what is scrolled out of sight axe cannot tell the contrast
                contrast = page.evaluate(CONTRAST)
                found["violations"] += contrast["violations"]
                undecided = [each for each in found["incomplete"] if each[0] != "color-contrast"]
                found["incomplete"] = undecided + contrast["incomplete"]
                count += len(found["violations"])
                print(
                    f"{name:9} {colours:5} {width:7} {len(found['violations'])} violations, {found['passes']} rules "
                    f"passed, undecided: {found['incomplete'] or 'none'}",
                    flush=True,
                )
                for rule, impact, words, nodes in found["violations"]:
                    print(f"  {rule} ({impact}): {words}", *nodes[:4], sep="\n    ")
            context.close()
    return count


def by_keyboard(browser: Browser, address: str) -> list[str]:
    """What the keyboard alone does not reach: the skip link, the field of the id, a customer, the order of a list."""
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.set_default_timeout(120_000)
    problems = []
    where = pages(page, address)
    known = page.locator("table th[scope=row] a").first.inner_text()
    page.goto(where["start"])
    page.keyboard.press("Tab")
    if "Skip" not in page.evaluate("() => document.activeElement.textContent"):
        problems.append("the first stop is no skip link")
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.id") == "id":
            break
    else:
        problems.append("the field of the id is not among the first stops after the skip link")
    if page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "none":
        problems.append("the focus is not visible")
    page.keyboard.type(known)
    page.keyboard.press("Enter")
    page.wait_for_url("**/customer?*")
    if known not in page.locator("h1").inner_text():
        problems.append("Enter in the field of the id does not show the customer")
    page.goto(where["list"])
    page.locator("th[scope=col] a").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**order=*")
    if not page.locator("th[aria-sort]").count():
        problems.append("a list does not say by what it is ordered")
    context.close()
    return problems


def main() -> None:
    """Check the pages."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--axe", type=Path, required=True, help="axe.min.js")
    parser.add_argument("--address", default="http://127.0.0.1:4000", help="of the browser (default: %(default)s)")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    given = parser.parse_args()
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=as_root)
        problems = by_keyboard(browser, given.address)
        print(*(problems or ["the keyboard reaches the forms, a customer and the order of a list"]), sep="\n")
        count = checked(browser, given.address, given.axe.read_text(encoding="utf-8"))
        browser.close()
    sys.exit(f"{count} violations" if count else len(problems) > 0)


if __name__ == "__main__":
    main()
