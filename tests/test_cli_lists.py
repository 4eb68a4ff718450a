"""Several files after one option, options that are repeated, and unquoted patterns, as everyone types them."""

from __future__ import annotations

from importlib import import_module

import pytest

from jetsym.cli import COMMANDS, joined, make_parser


def parsed(line: str) -> dict:
    name, *words = line.split()
    command = COMMANDS[name]
    module, _, function = command.function.partition(":")
    parser = make_parser(f"jetsym {name}", command, getattr(import_module(module), function))
    return vars(parser.parse_args(joined(words, parser, positional=command.positional)))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train --data a.root --out x --data b.root", {"data": ["a.root", "b.root"], "out": "x"}),
        ("train --data a.root b.root --out x", {"data": ["a.root", "b.root"], "out": "x"}),
        ("train --data=a.root --data [b.root,c.root] --out x", {"data": ["a.root", "b.root", "c.root"]}),
        ("train --data a.root --val v.root w.root --out x --resume", {"val": ["v.root", "w.root"], "resume": True}),
        ("train --data a.root --out x", {"data": "a.root"}),
        ("train --options.features kin --data a.root b.root --out x", {"data": ["a.root", "b.root"]}),
        ("train --data a.root --freeze a --freeze b --out x", {"freeze": ["a", "b"]}),
        ("evaluate run a.root b.root --limit 5", {"model": "run", "data": ["a.root", "b.root"], "limit": 5}),
        ("evaluate run --background QCD a.root", {"data": "a.root", "background": "QCD"}),
        ("evaluate run a.root --background QCD --background Hbb", {"background": ["QCD", "Hbb"]}),
        ("predict run a.root b.root c.root --out x.root", {"data": ["a.root", "b.root", "c.root"], "out": "x.root"}),
        ("inspect a.root b.root", {"path": ["a.root", "b.root"]}),
        ("inspect a.root --verify", {"path": "a.root", "verify": True}),
        ("convert a.root b.root --out x --skip_bad", {"paths": ["a.root", "b.root"], "skip_bad": True}),
        ("probe run --inputs a.root b.root", {"model": "run", "inputs": ["a.root", "b.root"]}),
        ("probe --inputs a.root b.root run", {"model": "run", "inputs": ["a.root", "b.root"]}),
        ("probe --inputs a.root run", {"model": "run", "inputs": "a.root"}),
        ("diagnose r.json --history a.json b.json --history c.json", {"history": ["a.json", "b.json", "c.json"]}),
        ("compare a.json b.json --names x --names y", {"reports": ["a.json", "b.json"], "names": ["x", "y"]}),
    ],
)
def test_lists_are_joined(line, expected):
    found = parsed(line)
    assert {name: found[name] for name in expected} == expected


def test_two_values_of_an_option_that_takes_one_are_refused():
    with pytest.raises(Exception, match="unrecognized|Unrecognized"):
        parsed("train --data a.root --out x y")
