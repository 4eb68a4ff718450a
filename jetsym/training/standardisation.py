"""Standardisation of inputs that is measured on the training jets once, and then kept with the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightning_fabric import Fabric

from jetsym.errors import DataError
from jetsym.jets.inputs import InputForm, expect_standardised
from jetsym.jets.io.formats.cached import load_manifest
from jetsym.jets.io.mapping.measure import measure_standardisation
from jetsym.jets.io.mapping.parse import tagger_mapping
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.paths import jet_files
from jetsym.jets.io.remote import File
from jetsym.jets.models import Tagger
from jetsym.training.config import TrainConfig

__all__ = ["Measured", "with_standardisation"]

#: Input → variable → centre and scale.
Measured = dict[str, dict[str, list[float]]]


def with_standardisation(
    config: TrainConfig, fabric: Fabric, *, kept: Measured | None = None, source: Tagger | None = None
) -> TrainConfig:
    """Return the configuration with the standardisation that its mapping leaves to be measured.

    Parameters
    ----------
    config
        Of the run; what it says itself is taken.
    fabric
        The first of its processes measures for all.
    kept
        What the run to be continued has measured.
    source
        The tagger that the run begins from; what it was trained with is taken if it knows all variables.

    Raises
    ------
    ConfigError
        If what is given is not of all variables.
    DataError
        If there is nothing to measure.
    """
    mapping = tagger_mapping(config.mapping, vectors=config.vectors, tree=config.tree)
    plan = None if mapping is None else mapping.unmeasured
    if mapping is not None and (plan is None or not plan.bounds):
        return config
    known = config.standardisation or kept
    earlier = None if source is None else source.standardisation
    if known is None and plan is not None and earlier is not None:
        known = earlier if all(variable in earlier.get(name, {}) for name, variable in plan.bounds) else None
    if known is None:
        found: Measured | Exception | None = None
        if fabric.is_global_zero:
            try:
                found = _measured(mapping, config) if mapping is not None else _of_caches(config, earlier)
            except Exception as error:  # whatever it is, the other processes wait for it
                found = error
        found = fabric.broadcast(found)
        if isinstance(found, Exception):
            raise found
        known = found
    if mapping is not None:
        mapping.standardised(known or {})  # which refuses what is not complete
    return replace(config, standardisation=known)


def _of_caches(config: TrainConfig, earlier: Measured | None) -> Measured | None:
    """Return what the inputs of caches, which need no mapping, were standardised with; None where there are none."""
    found: Measured = {}
    for folder in _caches(jet_files(config.data)):
        forms = _forms(folder)
        expect_standardised(forms, earlier or found, which=f"the jets of {folder}")
        found |= {name: form.standardisation for name, form in forms.items() if form.standardisation}
        if found:
            _expect_no_fold(folder, config)
    return found or None


def _expect_no_fold(folder: Path, config: TrainConfig) -> None:
    """Refuse a cache whose own numbers are of jets that are held out as well."""
    if config.held_out is not None:
        raise DataError(
            f"{folder} is a cache whose inputs were standardised by all its jets, those of fold {config.fold} that "
            "are held out among them; take the files themselves, or write the numbers into the mapping"
        )


def _caches(files: Sequence[File]) -> list[Path]:
    return [file for file in files if isinstance(file, Path) and file.is_dir()]


def _measured(mapping: TreeMapping, config: TrainConfig) -> Measured:
    """Measure on the training files; caches of them know what was measured when they were made."""
    assert mapping.unmeasured is not None
    files = jet_files(config.data)
    caches = _caches(files)
    if not caches:
        fold = config.held_out
        mapping = mapping if fold is None else replace(mapping, fold=fold.rest)
        return measure_standardisation(mapping, files, skip_bad=config.skip_bad)
    _expect_no_fold(caches[0], config)
    found = [_of_cache(folder, mapping) for folder in caches]
    if len(caches) < len(files) or any(one != found[0] for one in found):
        raise DataError(
            f"{caches[0]} and the other places of --data are standardised each by itself, as its mapping says; "
            "expected one cache of all of them, or files"
        )
    return found[0]


def _of_cache(folder: Path, mapping: TreeMapping) -> Measured:
    forms, found = _forms(folder), Measured()
    assert mapping.unmeasured is not None
    for name, variable in mapping.unmeasured.bounds:
        numbers = forms[name].standardisation.get(variable) if name in forms else None
        if numbers is None:
            raise DataError(
                f"{folder} is a cache without {name}.{variable}; expected one that was made with the mapping"
            )
        found.setdefault(name, {})[variable] = numbers
    return found


def _forms(folder: Path) -> dict[str, InputForm]:
    """Return the forms of a cache's inputs."""
    return {name: InputForm.read(said) for name, said in load_manifest(folder).get("inputs", {}).items()}
