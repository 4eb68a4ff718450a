"""What a stream reads: files, a cache, or a cache that is made of files first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jetsym.errors import ConfigError
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.paths import Paths, jet_files, local_files
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.streaming.blocks import JetFiles
from jetsym.jets.io.streaming.cache import CacheFiles
from jetsym.jets.schema import WEIGHT

__all__ = ["open_source"]


def open_source(
    paths: Paths,
    cache: str | os.PathLike[str] | None,
    mapping: TreeMapping | None,
    options: dict[str, Any],
    *,
    alone: bool,
    largest: int | None,
    **further: Any,
) -> JetFiles | CacheFiles:
    """Open the source that paths and cache mean."""
    from jetsym.jets.io.streaming.cache import CacheFiles, is_cache

    wanted = {name: options[name] for name in ("columns", "also")} | further
    if isinstance(paths, str | os.PathLike) and is_cache(Path(paths).expanduser()):
        return CacheFiles(Path(paths).expanduser(), mapping=mapping, **wanted)
    if cache is None:
        return JetFiles(jet_files(paths), **options, mapping=mapping, largest=largest, **further)
    files, folder = local_files(paths), Path(cache).expanduser()
    if not is_cache(folder):
        if not alone:
            raise ConfigError(f"{folder} holds no cache yet; make it before a distributed run, with: jetsym convert")
        from jetsym.jets.io.streaming.convert import convert

        fold = further["fold"]
        also = options["also"] if fold is None else (*options["also"], fold.column)
        convert(files, folder, **options | {"also": also}, mapping=mapping)
    found = CacheFiles(folder, sources=files, mapping=mapping, skip_bad=options["skip_bad"], **wanted)
    for name in set(options["also"]).difference(found.names):
        computed = name == WEIGHT and mapping is not None and mapping.reweighting is not None
        if computed or name in index_file(files[0], mapping).layout.columns:
            raise ConfigError(
                f"{folder} is a cache without the column {name!r}, which {files[0]} has; choose another folder, or "
                "make it again: jetsym convert … --overwrite"
            )
    return found
