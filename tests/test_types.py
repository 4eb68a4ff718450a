"""What type checkers see: the README's code, which report a probe gives, and the options of a training."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import jetsym
from jetsym.probing.options import ProbeOptions
from jetsym.probing.probe import probe
from jetsym.training.config import TrainConfig
from jetsym.training.options import TrainOptions

pytest.importorskip("mypy")
ROOT = Path(__file__).parents[1]

#: Expression -> the type that mypy reveals.
REVEALED = {
    "jetsym.probe(model, inputs)": "SymmetryReport",
    'jetsym.probe(model, inputs, group="SO2", axis="jet", baseline="untrained")': "SymmetryReport",
    'jetsym.probe(model, inputs, group="boost", widths=[0.5])': "BoostReport",
    'jetsym.probe(model, inputs, group="lorentz")': "LorentzReport",
    'jetsym.probe(model, inputs, over={"t": [0.0, 1.0]}, l_max=2)': "ReportsOver",
    "jetsym.probe(model, inputs, group=word)": "SymmetryReport | BoostReport | LorentzReport",
    "jetsym.probe(model).plot()": "Axes",
    "jetsym.SymmetryReport.load(word)": "SymmetryReport",
    "jetsym.train(word, word, lr=3e-4, model='part', augmentation={'group': 'O3'}).model()": "Tagger",
}
#: Line -> what mypy says of it.
REFUSED = {
    "jetsym.probe(model, l_maxx=2)": 'Unexpected keyword argument "l_maxx"',
    "jetsym.probe(model, limit='all')": 'No overload variant of "probe" matches argument types "object", "str"',
    "jetsym.train(word, word, epoch=3)": 'Unexpected keyword argument "epoch" for "train"',
    "jetsym.train(word, word, lr='high')": 'Argument "lr" to "train" has incompatible type "str"; expected "float"',
    "jetsym.probe(model, group='boost').fractions": '"BoostReport" has no attribute "fractions"',
}
START = "import jetsym\n\nmodel: object = None\ninputs: object = None\nword: str = 'SO3'\n"


def mypy(code, folder):
    """What mypy, strict and with the settings of the project, says of a piece of code."""
    file = folder / "snippet.py"
    file.write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", file]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False).stdout


@pytest.mark.slow
def test_what_type_checkers_see(tmp_path):
    (snippet,) = re.findall(r"## Probe your own model\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    lines = [START, snippet.replace("import jetsym\n", ""), *(f"reveal_type({one})\n" for one in REVEALED)]
    said = mypy("".join(lines), tmp_path)
    assert "error" not in said, said
    found = [re.sub(r"[\w.]+\.(\w+)", r"\1", one) for one in re.findall(r'Revealed type is "(.*)"', said)]
    assert found == list(REVEALED.values()), said

    said = mypy(START + "".join(f"{one}\n" for one in REFUSED), tmp_path)
    for number, words in enumerate(REFUSED.values(), START.count("\n") + 1):
        assert any(f":{number}: error: {words}" in line for line in said.splitlines()), said


def test_the_options_of_a_probe_have_one_set_of_types():
    """The types for checkers are those of the function."""
    hints, own = get_type_hints(probe), get_type_hints(ProbeOptions)
    named = [name for name, one in inspect.signature(probe).parameters.items() if one.kind is one.KEYWORD_ONLY]
    assert list(own) == [name for name in named if name not in ("group", "over")]
    assert own == {name: hints[name] for name in own}


def test_the_options_of_a_training_have_one_set_of_types():
    """The types for checkers are those of the configuration, besides what a function makes values of it from."""
    own, fields = get_type_hints(TrainOptions), get_type_hints(TrainConfig)
    made = ("model", "augmentation", "penalty")
    assert list(own) == [name for name in fields if name != "data"]
    assert {name: own[name] for name in own if name not in made} == {
        name: fields[name] for name in own if name not in made
    }
    assert all(fields[name] in get_args(own[name]) for name in made)


def test_a_training_shows_its_options():
    """In the signature, for TAB, and in the help, all of them, with the defaults of the configuration."""
    shown = inspect.signature(jetsym.train).parameters
    config = TrainConfig("data.root")
    assert {name for name, one in shown.items() if one.kind is one.POSITIONAL_OR_KEYWORD} == {"data", "out"}
    assert not any(one.kind is one.VAR_KEYWORD for one in shown.values())
    assert {**vars(config)}.keys() <= shown.keys()
    assert {name: shown[name].default for name in vars(config) if name != "data"} == {
        name: value for name, value in vars(config).items() if name != "data"
    }
    described = re.findall(r"^(\w[\w, ]*)$", inspect.getdoc(jetsym.train), re.M)
    assert {name for line in described for name in line.split(", ")} >= shown.keys()
    assert "Largest learning rate" in inspect.getdoc(jetsym.train)
    assert "The other fields" not in inspect.getdoc(jetsym.train)
