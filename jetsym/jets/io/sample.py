"""The bundled sample: a few jets of every class, so that everything can be tried without a download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jetsym import _version
from jetsym.arguments import at_least, checked
from jetsym.errors import DataError, expect_one_of

if TYPE_CHECKING:
    from jetsym.jets.batch import JetBatch

__all__ = ["SPLITS", "sample", "sample_dir"]

SPLITS = ("train", "val", "test")


def sample_dir() -> Path:
    """Find the folder of the bundled sample, with its splits ``train``, ``val`` and ``test``.

    An installed package carries it as ``jetsym/data/sample``; a checkout has it in ``data/sample``.

    Raises
    ------
    DataError
        If neither place holds ROOT files.

    Examples
    --------
    >>> sorted(folder.name for folder in sample_dir().iterdir() if folder.is_dir())
    ['test', 'train', 'val']
    """
    package = Path(_version.__file__).parent
    places = (package / "data" / "sample", package.parent / "data" / "sample")
    for place in places:
        if any(place.glob("*/*.root")):
            return place
    raise DataError(
        f"no bundled sample in {places[0]} or {places[1]}; reinstall jetsym, "
        "or make jets of your own with: jetsym generate"
    )


@checked(limit=at_least(1), max_particles=at_least(1))
def sample(split: str = "test", *, limit: int | None = None, max_particles: int = 128) -> JetBatch:
    """Read jets of the bundled sample, all ten classes of JetClass.

    Parameters
    ----------
    split
        "train", "val" or "test".
    limit, max_particles
        As in :func:`jetsym.jets.io.read.read`; of each class, which has a file of its own, a limit takes the first.

    Returns
    -------
    JetBatch
        Momenta in GeV, float32, in the order of the files.

    Raises
    ------
    DataError
        If the sample is not there.
    ConfigError
        If there is no such split.

    Examples
    --------
    >>> jets = sample("test", limit=20)
    >>> jets.label.bincount().tolist()
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    expect_one_of("split", split, SPLITS)
    from jetsym.jets.io.read import padded, read_packed

    return padded(read_packed(sample_dir() / split, limit=limit, first=True), max_particles)
