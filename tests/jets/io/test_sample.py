"""Where the bundled sample is looked for, and what it holds."""

from __future__ import annotations

import pytest

from jetsym import _version
from jetsym.errors import ConfigError, DataError
from jetsym.jets import sample
from jetsym.jets.io.sample import SPLITS, sample_dir
from jetsym.jets.schema import CLASSES


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A place that jetsym believes to be installed in."""
    package = tmp_path / "site" / "jetsym"
    package.mkdir(parents=True)
    monkeypatch.setattr(_version, "__file__", str(package / "_version.py"))
    return package


def test_an_installed_package_carries_its_sample(install, jetclass_file):
    path = jetclass_file("site/jetsym/data/sample/test/Hbb_000.root", n=5)
    jetclass_file("site/data/sample/test/Hbb_000.root", n=7)
    assert sample_dir() == path.parents[1]
    assert len(sample("test")) == 5


def test_a_checkout_has_it_at_its_root(install, jetclass_file):
    path = jetclass_file("site/data/sample/val/Hbb_000.root", n=7)
    (install / "data" / "sample").mkdir(parents=True)
    assert sample_dir() == path.parents[1]
    assert len(sample("val", limit=3, max_particles=2)) == 3
    with pytest.raises(DataError, match="no such file"):
        sample("train")


def test_without_a_sample_the_message_says_what_to_do(install):
    with pytest.raises(DataError, match=r"no bundled sample in .*reinstall jetsym"):
        sample_dir()


def test_there_are_three_splits():
    with pytest.raises(ConfigError, match="split is 'valid'; expected one of 'train', 'val', 'test'"):
        sample("valid")


@pytest.mark.parametrize("split", SPLITS)
def test_the_bundled_sample_holds_all_classes(split):
    jets = sample(split)
    assert jets.classes == CLASSES
    assert (jets.label.bincount(minlength=len(CLASSES)) > 0).all()
    assert (jets.n_particles > 0).all()


def test_a_limit_is_spread_over_the_classes():
    assert sample("test", limit=10).label.sort().values.tolist() == list(range(10))
