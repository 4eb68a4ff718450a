"""A remedy joins by one file that registers it; ``jetsym repair`` then offers and writes it."""

from __future__ import annotations

import importlib.util

import pytest
import yaml

from jetsym.cli import main
from jetsym.errors import ConfigError
from jetsym.probing.diagnosis import MODES
from jetsym.repair import REMEDIES, register, repair, tagger, words  # noqa: F401  tagger brings the remedies of its own

#: The one file of a remedy from outside.
SHORTER = '''
from jetsym.repair import Step, register


@register("fewer-epochs", "jets", repairs=("drift", "parity-blindness"))
def fewer_epochs(config, symmetry, weight):
    """Stop before the error rises."""
    if config["epochs"] < 2:
        return None
    return Step({"epochs": config["epochs"] // 2}, f"stops halfway, with errors under {symmetry.words}", "nothing")
'''


@pytest.fixture
def fewer_epochs(tmp_path):
    """Load the file as a package that joins would, and take its remedy out again."""
    modes, known = dict(MODES), dict(REMEDIES["jets"])
    path = tmp_path / "fewer_epochs.py"
    path.write_text(SHORTER)
    spec = importlib.util.spec_from_file_location("fewer_epochs", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield spec
    for table, before in ((MODES, modes), (REMEDIES["jets"], known)):
        table.clear()
        table.update(before)


def test_a_remedy_joins_by_one_file(fewer_epochs, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("{data: train/*.root, epochs: 8}")
    assert words("drift", "jets") == ["penalty", "lower-rate", "fewer-epochs"]
    assert main(["repair", str(tmp_path), "--finding", "parity-blindness"]) == 0  # no-mirror changes nothing here
    printed = capsys.readouterr().out
    assert "by fewer-epochs: stops halfway, with errors under O3." in printed
    assert "epochs: 8 -> 4" in printed
    text = (tmp_path / "repair-parity-blindness.yaml").read_text()
    assert text.startswith(f"# parity-blindness of {tmp_path}, by fewer-epochs")
    assert yaml.safe_load(text)["epochs"] == 4
    assert main(["repair", str(tmp_path), "--finding", "drift", "--remedy", "fewer-epoch"]) == 1
    assert "--remedy is 'fewer-epoch'; the nearest are 'fewer-epochs'" in capsys.readouterr().err


def test_it_is_none_of_other_runs(fewer_epochs):
    assert "fewer-epochs" not in words("drift", "atoms")


def test_what_is_taken_or_unknown_is_refused(fewer_epochs, tmp_path):
    with pytest.raises(ConfigError, match="runs of jets have a remedy 'fewer-epochs' already"):
        fewer_epochs.loader.exec_module(importlib.util.module_from_spec(fewer_epochs))
    with pytest.raises(ConfigError, match="repairs is 'drifft'; the nearest are 'drift'"):
        register("other", "jets", repairs=("drifft",))
    assert "other" not in REMEDIES["jets"]
    with pytest.raises(ConfigError, match="runs is 'jetz'; the nearest are 'jets'"):
        register("other", "jetz")
    assert "jetz" not in REMEDIES
    with pytest.raises(ConfigError, match="the change by 'other' is 3; expected a Callable"):
        register("other", "jets")(3)
    with pytest.raises(ConfigError, match="the word of a remedy is 3; expected a str"):
        register(3, "jets")
    (tmp_path / "config.yaml").write_text("{data: train/*.root, epochs: 1}")
    with pytest.raises(ConfigError, match="the run has no-mirror and fewer-epochs already"):
        repair(tmp_path, finding="parity-blindness")


def test_words_of_what_is_unknown_are_refused():
    assert words("drift", "atoms") == ["penalty", "lower-rate"]
    with pytest.raises(ConfigError, match="finding is 'drifft'; the nearest are 'drift'"):
        words("drifft", "jets")
    for runs in ("jetz", "atom", None):
        with pytest.raises(ConfigError, match=f"runs is {runs!r}; (the nearest are|there is) '"):
            words("drift", runs)
