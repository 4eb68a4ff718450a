"""What weaver-core's own loader gives of files, and how what jetsym gives is compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from jetsym.jets import JetBatch


def written(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def of_weaver(configuration: str, files: list[Path]) -> dict[str, dict[str, np.ndarray]]:
    """Return what weaver-core's loader gives of files in a test, jet by jet."""
    from weaver.utils.dataset import SimpleIterDataset

    options = {"for_training": False, "fetch_by_files": True, "fetch_step": len(files), "async_load": False}
    jets = iter(SimpleIterDataset({"": [str(file) for file in files]}, configuration, **options))
    rows = []
    while True:
        try:
            rows.append(jets.__next__())
        except StopIteration:
            break
    parts = dict(zip(("inputs", "labels", "observers"), zip(*rows, strict=True), strict=True))
    return {
        kind: {name: np.stack([each[name] for each in found]) for name in found[0]} for kind, found in parts.items()
    }


def assert_equal(found: JetBatch, expected: dict[str, dict[str, np.ndarray]]) -> None:
    """Compare inputs, observers and a simple label with weaver-core's."""
    assert found.inputs.keys() == expected["inputs"].keys()
    for name, values in expected["inputs"].items():
        own = found.inputs[name].numpy()
        assert own.reshape(values.shape).dtype == values.dtype
        assert np.allclose(own.reshape(values.shape), values, rtol=1e-6, atol=1e-6), name
    for name, values in expected["observers"].items():
        assert np.allclose(found.columns[name].numpy(), values, rtol=1e-6, atol=0), name
    if "_label_" in expected["labels"]:
        assert np.array_equal(found.label.numpy(), expected["labels"]["_label_"])
