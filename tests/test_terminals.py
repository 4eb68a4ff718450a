"""What commands print fits into terminals of 60, 80 and 120 columns, and no two names look the same there."""

from __future__ import annotations

import re
from dataclasses import replace
from pkgutil import resolve_name

import numpy as np
import pytest

import jetsym
from jetsym.cli import COMMANDS, CommandGroup, main
from jetsym.commands.parser import make_parser
from jetsym.commands.table import Command
from jetsym.text import as_text, fitted, table_of

WIDTHS = (60, 80, 120)
#: Of docstrings, and of Python's types.
MARKS = re.compile(r":[a-z]+:`|``|<class|typing\.|\b(?:Union|Optional|Sequence|Literal|list|dict)\[|\| null")


def commands(table=COMMANDS, program: str = "jetsym"):
    """Yield every command, with each of the functions behind it."""
    for name, entry in table.items():
        if isinstance(entry, CommandGroup):
            yield from commands(entry.commands, f"{program} {name}")
        else:
            yield from ((f"{program} {name}", entry, function) for function in entry.functions)


ALL = list(commands())


@pytest.mark.parametrize(("program", "command", "function"), ALL, ids=[f"{one[0]} {one[2]}" for one in ALL])
def test_every_option_has_a_description_in_the_words_of_a_terminal(
    program: str, command: Command, function: str, monkeypatch
):
    if program.split()[1] in ("atoms", "relax", "phonons"):
        pytest.importorskip("metatrain")
    parser = make_parser(program, command, resolve_name(function))
    assert [action.dest for action in parser._actions if not (action.help or "").strip()] == []
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        text = parser.format_help()
        assert max(map(len, text.splitlines())) <= width
        marks = re.compile(
            r":[a-z]+:`|``|<class|typing\.|\bUnion\[|\bOptional\[|\bSequence\[|\bLiteral\[|\blist\[|\| null"
        )
        assert marks.findall(text) == []
        assert not re.search(r"type: ", text)
        names = [flag for action in parser._actions for flag in action.option_strings if not flag.endswith("+")]
        assert all(flag in text for flag in names)


@pytest.mark.parametrize("width", WIDTHS)
def test_lists_of_commands_fit(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    for words in ([], ["atoms"]):
        assert main(words) == 0
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_tables_are_written_in_parts_and_lose_nothing(width):
    names = [f"blocks.{n}.attention.query_key.{end}" for n in range(3) for end in ("weight", "weights")]
    heads = ["layer", *(f"({degree},{sign})" for degree in range(6) for sign in "+−")]
    rows = [[name, *(f"{place}.{column}0(12)e-5" for column in range(12))] for place, name in enumerate(names)]
    for no_wrap in (False, True):
        table = table_of("Power per irrep", heads, rows, no_wrap=no_wrap)
        with fitted(width):
            text = as_text(table)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        assert text.count("Power per irrep") == 1
        assert all(head in text for head in heads)
        assert all(text.count(f"{name} ") == text.count("layer") for name in names)
        assert all(cell in text for row in rows for cell in row[1:])
    assert len(as_text(table).splitlines()[2]) > width  # into a file as wide as it is


def test_a_name_that_is_longer_than_the_terminal_is_broken():
    names = ["a" * 70 + "b", "a" * 70 + "c"]
    with fitted(60):
        text = as_text(table_of(None, ["layer", "A"], [[name, "1"] for name in names]))
    assert max(map(len, text.splitlines())) <= 60
    assert re.sub(r"[^abc]", "", text).endswith("b" + "a" * 70 + "c")


@pytest.mark.parametrize("width", WIDTHS)
def test_reports_fit(width, tmp_path, monkeypatch, capsys):
    points = np.random.default_rng(0).normal(size=(4, 3))
    for name in ("first", "second"):
        report = jetsym.probe(lambda x: x[:, 0] + 1, points, l_max=4, progress=False)
        layers = tuple(f"network.{name}.blocks.{n}.attention" for n in range(len(report.layers)))
        replace(report, layers=layers).save(tmp_path / f"{name}.json")
    monkeypatch.setenv("COLUMNS", str(width))
    for words in (["compare", "first.json", "second.json"], ["diagnose", "first.json"]):
        monkeypatch.chdir(tmp_path)
        assert main(words) == 0
        table = [line for line in capsys.readouterr().out.splitlines() if set(line) & set("│┃┏└")]
        assert all(len(line) <= width for line in table)
        assert "…" not in "".join(table)
