"""Pages in a real browser: they fit a phone and a desk, sort, and say nothing on the console."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from jinja2 import UndefinedError
from markupsafe import Markup

import jetsym
from jetsym.pages import TEMPLATES, page, render
from jetsym.probing.diagnosis.page import report_page
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.generators import LocalReport
from jetsym.probing.reports.lorentz import LorentzReport

table_element = TEMPLATES.get_template("macros.html").module.table

#: Widths of a phone and of a window on a desk, in CSS pixels.
WIDTHS = (390, 1280)

#: Frames of given widths around a page, and what is measured in them once all are loaded.
WRAPPER = """<!doctype html><meta charset="utf-8">{frames}<pre id="found">nothing</pre><script>
window.onload = () => {{
  const found = [...document.querySelectorAll("iframe")].map(frame => {{
    const inside = frame.contentDocument, root = inside.documentElement;
    const shown = [root.scrollWidth, root.clientWidth, Math.max(root.scrollWidth, inside.body.scrollWidth)];
    const table = inside.querySelector("table");
    const column = () => [...table.tBodies[0].rows].map(row => row.cells[{column}].textContent.trim()).join(";");
    const orders = [];
    for (let click = 0; table && click < 2; click++) {{
      table.tHead.rows[0].cells[{column}].click();
      orders.push(column());
    }}
    return [frame.width, ...shown, inside.images.length, ...orders].join("|");
  }});
  document.getElementById("found").textContent = found.join("\\n");
}};
</script>"""


@pytest.fixture(scope="module")
def browser():
    """Path of a Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next((found for found in map(shutil.which, names) if found), None)
    if path is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    return path


def look(browser: str, html: str, folder: Path, *, column: int = 1) -> tuple[list[list[str]], list[str]]:
    """What is seen of a page in frames of all widths, opened from a file, and the messages on the console."""
    target, wrapper = folder / "page.html", folder / "wrapper.html"
    target.write_text(html, encoding="utf-8")
    frames = "".join(f'<iframe src="{target.as_uri()}" width="{width}" height="800"></iframe>' for width in WIDTHS)
    wrapper.write_text(WRAPPER.format(frames=frames, column=column), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--allow-file-access-from-files",
    ]
    options += [
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]
    done = subprocess.run(
        [browser, *options, "--dump-dom", wrapper.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return [line.replace("&lt;", "<").split("|") for line in found[1].splitlines()], console


def overflows(rows: list[list[str]]) -> list[bool]:
    return [int(widest) > int(shown) for _, _, shown, widest, *_ in rows]


@pytest.fixture(scope="module")
def spectrum_page():
    points = np.random.default_rng(0).normal(size=(6, 3))

    def model(x):
        outer = x[:, :, None] * x[:, None, :]
        return {
            "force": np.exp(x / 2),
            "a_layer_with_a_rather_long_name.attention.projection": (x**2).sum(-1),
            "t": outer,
        }

    report = jetsym.probe(model, points, outputs={"force": "vector", "t": "rank2"}, progress=False)
    with mpl.rc_context({"backend": "agg"}):
        figure = report.plot()
        html = report_page(report, figure)
    mpl.pyplot.close(figure.figure)
    return html


class Links(HTMLParser):
    """What a page would fetch, and how many images it holds."""

    def __init__(self):
        super().__init__()
        self.outside, self.images = [], []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href"):
                (self.images if value.startswith("data:") else self.outside).append(value)


def test_a_page_holds_everything_itself(spectrum_page):
    links = Links()
    links.feed(spectrum_page)
    assert links.outside == []
    assert len(links.images) == 1
    assert base64.b64decode(links.images[0].split(",")[1]).startswith(b"\x89PNG")
    assert "<h2>Findings</h2>" in spectrum_page
    assert "What to try." in spectrum_page
    assert spectrum_page.count('class="note"') >= 4  # how to read each of the tables
    assert "url(" not in spectrum_page


EVIL = "<evil attribute='\"'>&"


def _is_escaped(html: str) -> bool:
    return "<evil" not in html and "&lt;evil attribute=" in html


def test_what_comes_from_outside_is_escaped():
    """Names of models, layers and files are the user's."""
    points = np.random.default_rng(0).normal(size=(4, 3))
    spectrum = jetsym.probe(lambda x: np.exp(x), points, outputs={"output": "vector"}, l_max=1, progress=False)
    errors = {EVIL: spectrum.equivariance["output"]}
    meta = {**spectrum.meta, "model": EVIL, "notes": [EVIL]}
    spectrum = replace(spectrum, layers=(EVIL,), equivariance=errors, meta=meta)
    one, meta = np.full((1, 1), 0.1), {"axis": EVIL, "distribution": "uniform"}
    boosts = BoostReport((EVIL,), np.ones(1), one[None], one[None], one, one, one, one, 0 * one, errors, meta)
    local = LocalReport((EVIL,), (EVIL,), one, one, meta={"axes": EVIL, "method": EVIL})
    sides, meta = {EVIL: dict.fromkeys(("local", "spectrum", "tail"), 0.1)}, {"group": "lorentz", "model": EVIL}
    compact = {EVIL: spectrum, "O3 lab": spectrum}
    lorentz = LorentzReport(compact, {"jet": local, EVIL: local}, {EVIL: boosts}, sides, meta)
    found, compared = jetsym.diagnose(spectrum), jetsym.compare(spectrum, spectrum, names=[EVIL, "other"])
    assert found.findings
    for result in (spectrum, boosts, lorentz, found, compared):
        assert _is_escaped(result._repr_html_()), result
    with mpl.rc_context({"backend": "agg"}):
        figure = spectrum.plot()
        assert _is_escaped(report_page(spectrum, figure))
        assert _is_escaped(page(EVIL, compared.section(), figure=figure, description=EVIL))
    mpl.pyplot.close("all")


def test_sections_are_put_into_pages_as_they_are(spectrum_page):
    assert "&lt;p&gt;" not in spectrum_page
    assert spectrum_page.count("<table>") == spectrum_page.count("</table>") >= 3


def test_a_template_that_lacks_a_value_fails():
    with pytest.raises(UndefinedError, match="'rows' is undefined"):
        render("boosts.html", sentences=[], header=[])


@pytest.mark.slow
def test_a_page_in_a_browser(browser, spectrum_page, tmp_path):
    rows, console = look(browser, spectrum_page, tmp_path)
    assert console == []
    assert [int(row[0]) for row in rows] == list(WIDTHS)
    assert overflows(rows) == [False, False]
    assert all(row[4] == "1" for row in rows)


@pytest.mark.slow
def test_pages_of_other_kinds_in_a_browser(browser, make_jets, tmp_path):
    jets = make_jets(3, dtype=torch.float64, max_particles=5, min_particles=3)

    def tagger(jets):
        pt = jets.p4.sum(1)[:, 1:3].norm(dim=-1) / 500
        return torch.stack([pt, -(pt**2)], dim=-1)

    lorentz = jetsym.probe(tagger, jets, group="lorentz", outputs={"logits": "logits"}, l_max=2, progress=False)
    compared = jetsym.compare(*lorentz.compact.values(), names=list(lorentz.compact))
    with mpl.rc_context({"backend": "agg"}):
        pages = [report_page(lorentz, lorentz.plot()), page("compared", compared.section())]
        mpl.pyplot.close("all")
    for html in pages:
        rows, console = look(browser, html, tmp_path)
        assert console == []
        assert overflows(rows) == [False, False]


@pytest.mark.slow
def test_columns_are_sorted_by_value(browser, tmp_path):
    cells = ["83.25(42)", "<1e-11", "-0.01230(40)", "1.23(25)e-7", "—", "100"]
    table = table_element(["layer", "value"], [[f"layer {place}", cell] for place, cell in enumerate(cells)])
    rows, console = look(browser, page("sorting", table), tmp_path)
    assert console == []
    for row in rows:
        assert row[5].split(";") == ["-0.01230(40)", "<1e-11", "1.23(25)e-7", "83.25(42)", "100", "—"]
        assert row[6].split(";") == ["100", "83.25(42)", "1.23(25)e-7", "<1e-11", "-0.01230(40)", "—"]


@pytest.mark.slow
def test_the_checker_sees_what_is_wrong(browser, tmp_path):
    wide = "<div style='width: 700px'>wide</div><script>undefined_name()</script>"
    rows, console = look(browser, page("broken", Markup(wide) + table_element(["a", "b"], [["1", "2"]])), tmp_path)
    assert overflows(rows) == [True, False]
    assert any("undefined_name" in line for line in console)
