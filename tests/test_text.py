"""Names in tables are shown as they are, whatever brackets and colons stand in them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

import jetsym
from jetsym.text import as_text, table_of

NAMES = ["energy[eV]", "[bold]", "[/]", "[/bold]", "head[0].weight", "x[red]y[/red]", ":smile:", "[link=x]", "a\\[b]"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_markup(name):
    table = table_of(name, [name, "one"], [[name, "1"]])
    table.add_row(name, "2")
    assert as_text(table).count(name) == 4
    assert as_text(name).strip() == name
    stream = io.StringIO()
    Console(file=stream, width=300, color_system=None).print(table)
    assert stream.getvalue().count(name) == 4


def test_layers_and_outputs_with_brackets_in_reports():
    import numpy as np

    def call(x):
        return {"energy[eV]": x[:, 0] + 1, "[/]": x[:, 1]}

    points = np.random.default_rng(0).normal(size=(4, 3))
    outputs = {"energy[eV]": "scalar", "[/]": "scalar"}
    report = jetsym.probe(call, points, outputs=outputs, l_max=2, progress=False)
    words = str(report) + str(jetsym.diagnose(report)) + str(jetsym.compare(report, report))
    for name in outputs:
        assert str(report).count(name) >= 1
        assert words.count(name) >= 2
