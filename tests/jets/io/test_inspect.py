"""What inspect says is what is in the files."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import StepPatch
from PIL import Image

from jetsym.cli import main
from jetsym.errors import DataError
from jetsym.jets import read
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.streaming.convert import convert


def test_counts_and_ranges(numbered_files, tmp_path):
    files = numbered_files([30, 50, 20])
    jets, summary = read(files), inspect(files)
    assert (summary.n_jets, summary.n_empty, summary.n_bad) == (100, 0, 0)
    assert {name: count for name, count in summary.counts.items() if count} == {"QCD": 30, "Hbb": 50, "Hcc": 20}
    assert summary.branches["part_px"] == "float[]"
    real = jets.p4[jets.mask][:, 1]
    found = summary.ranges["part_px"]
    assert (found.low, found.high, found.finite) == (float(real.min()), float(real.max()), len(real))
    assert found.total / found.finite == pytest.approx(float(real.double().mean()))
    assert sum(map(np.sum, summary.histograms["particles per jet"].values())) == 100
    cached = inspect(convert(files, tmp_path / "cache", progress=False))
    assert (cached.n_jets, cached.counts) == (summary.n_jets, summary.counts)
    for name, each in summary.ranges.items():
        other = cached.ranges[name]
        assert (each.low, each.high, each.finite, each.bad) == (other.low, other.high, other.finite, other.bad)
        assert each.total == pytest.approx(other.total)


def test_bad_values_and_damage_are_counted(jetclass_file, jetclass_columns, make_jets):
    px = jetclass_columns(make_jets(20))["part_px"].to_list()
    px[3][0], px[12][0] = np.nan, np.inf
    good = jetclass_file("a.root", n=20, part_px=px)
    (good.parent / "b.root").write_bytes(b"rubbish, and enough of it")
    summary = inspect(good.parent)
    assert (summary.n_jets, summary.n_bad, summary.ranges["part_px"].bad) == (20, 2, 2)
    assert len(summary.damaged) == 1
    assert "b.root" in summary.damaged[0]
    with pytest.raises(DataError, match="not a ROOT file"):
        inspect(good.parent / "b.root")


@pytest.mark.parametrize("split", ["test", "T*_000.root"])
def test_ten_classes_stand_above_each_other_and_few_share_an_axis(split):
    summary = inspect(sample_dir() / "test" if split == "test" else str(sample_dir() / "test" / split))
    kinds = [name for name, count in summary.counts.items() if count]
    ax = summary.plot()
    for panel, found in zip(ax.get_figure().axes, summary.histograms.values(), strict=True):
        shapes = [patch.get_data() for patch in panel.patches if isinstance(patch, StepPatch)]
        if len(kinds) <= 5:
            expected = [found[kind] / found[kind].sum() for kind in kinds]
        else:
            rows = range(len(kinds) - 1, -1, -1)
            expected = [row + 0.9 * found[kind] / found[kind].max() for row, kind in zip(rows, kinds, strict=True)]
            shapes = shapes[::2]  # the lines of the filled ones come after them
        assert len(shapes) == len(kinds)
        for shape, values in zip(shapes, expected, strict=True):
            np.testing.assert_allclose(shape.values, values)
    if len(kinds) > 5:
        assert [label.get_text() for label in ax.get_yticklabels()] == kinds[::-1]
    plt.close("all")


def test_from_the_shell(numbered_files, tmp_path, capsys):
    files = numbered_files([30, 20])
    folder, cache = files[0].parent, tmp_path / "cache"
    assert main(["convert", str(folder), "--out", str(cache)]) == 0
    assert capsys.readouterr().out.split() == [str(cache)]
    assert main(["inspect", str(cache), "--verify"]) == 0
    text = capsys.readouterr().out
    assert "50 jets" in text
    assert "files are as" in text
    assert main(["inspect", f"{folder}/*.root", "--figure", str(tmp_path / "jets.png")]) == 0
    with Image.open(tmp_path / "jets.png") as image:
        assert image.width > 1000
    (cache / "values.npy").write_bytes(b"")
    assert main(["inspect", str(cache), "--verify"]) == 1
    assert "values.npy: damaged" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none"), "--out", str(cache)]) == 1
    assert "no such file" in capsys.readouterr().err
