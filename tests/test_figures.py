"""Every figure script draws its figure, at reduced size, with the numbers behind it."""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks" / "figures"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("all", "common"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    command = [sys.executable, "-W", "default", FOLDER / "all.py", "--quick", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_figure(drawn, name):
    pixels = matplotlib.image.imread(drawn / f"{name}.png")[..., :3]
    assert np.std(pixels) > 0.02  # something is on the page
    assert pixels.shape[1] <= 2400  # and it has the width of a paper's page
    assert (drawn / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((drawn / f"{name}.json").read_text())
