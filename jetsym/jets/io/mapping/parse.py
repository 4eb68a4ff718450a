"""YAML files of mappings (:mod:`jetsym.jets.io.mapping`): read, and refused where they have no meaning."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from jetsym.errors import ConfigError
from jetsym.jets.io.folds import Fold
from jetsym.jets.io.mapping.keys import mapping_of
from jetsym.jets.io.mapping.sections import Section
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.mapping.weaver import is_weaver, measured_by_weaver, weaver_mapping
from jetsym.jets.io.remote import File
from jetsym.reading import parse_yaml, read_text

__all__ = ["PUBLIC", "load_mapping", "open_mapping", "tagger_mapping"]

_PUBLIC = Path(__file__).parent / "public"
#: Names of mappings that jetsym knows, of public sets of jets.
PUBLIC = tuple(sorted(file.stem for file in _PUBLIC.glob("*.yaml")))


def load_mapping(
    path: str | os.PathLike[str] | TreeMapping | None, *, vectors: str | None = None, tree: str | None = None
) -> TreeMapping | None:
    """Read a mapping from its file, or from its name in :data:`PUBLIC`; what has been read, and None, are given back.

    A data configuration of weaver-core is a mapping too, see :mod:`jetsym.jets.io.mapping.weaver`; ``vectors`` names
    the input that holds the momenta, and ``tree`` the tree, whatever the file says of it.

    Raises
    ------
    ConfigError
        If the file cannot be read, or says something that has no meaning; the message names the key.
    """
    if vectors is not None and (path is None or isinstance(path, TreeMapping)):
        there = "there is no mapping" if path is None else f"{path.path} has been read already"
        raise ConfigError(f"vectors={vectors!r} names an input of a configuration of weaver-core, and {there}")
    if tree is not None:
        if (mapping := load_mapping(path, vectors=vectors)) is None:
            raise ConfigError(
                f"tree={tree!r} names the tree of a mapping, and there is none; expected mapping= as well"
            )
        return mapping.of_tree(tree)
    if path is None or isinstance(path, TreeMapping):
        return path
    file = Path(path).expanduser()
    if not file.exists() and file.name in PUBLIC and file == Path(file.name):
        file = _PUBLIC / f"{file.name}.yaml"
    found = parsed(file)
    if is_weaver(found):
        return weaver_mapping(file, measured_by_weaver(file, found), vectors=vectors)
    if vectors is not None:
        raise ConfigError(f"vectors={vectors!r} names an input of a configuration of weaver-core, which {file} is not")
    return mapping_of(file, Section(str(file), found, separator=": "))


def parsed(file: Path) -> Any:
    """Return what the YAML of a mapping says.

    Raises
    ------
    ConfigError
        It cannot be read, or is no YAML.
    """
    try:
        return parse_yaml(read_text(file), _Loader)
    except OSError as error:
        raise ConfigError(
            f"the mapping {file} cannot be read ({error.strerror}); expected a YAML file, or one of {', '.join(PUBLIC)}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"the mapping {file} is no YAML ({' '.join(str(error).split())})") from error


def tagger_mapping(
    path: str | os.PathLike[str] | TreeMapping | None,
    *,
    vectors: str | None = None,
    tree: str | None = None,
    test: bool = False,
    standardisation: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> TreeMapping | None:
    """Read a mapping for one of jetsym's own taggers, in training or in a test; errors as of :func:`load_mapping`.

    Of a configuration of weaver-core they take the momenta, not the inputs, and in a test its own selection. In a test
    inputs are standardised as they were in training, by the ``standardisation`` that the tagger has kept.
    """
    if vectors is not None and path is None:
        raise ConfigError(f"--vectors is {vectors!r}, and --mapping names no configuration of weaver-core")
    mapping = load_mapping(path, vectors=vectors, tree=tree)
    if mapping is None:
        return None
    mapping = mapping.for_test().for_taggers() if test else mapping.for_taggers()
    return mapping.standardised(standardisation or {}) if test or standardisation is not None else mapping


def open_mapping(
    path: str | os.PathLike[str] | TreeMapping | None,
    files: Iterable[File],
    *,
    skip_bad: bool = False,
    fold: Fold | None = None,
) -> TreeMapping | None:
    """Read a mapping, and compute the weights that it asks for from the jets of all files, or those of a fold.

    Raises
    ------
    ConfigError
        As :func:`load_mapping`.
    DataError
        If a file cannot be read; with ``skip_bad`` it is left out.
    """
    mapping = load_mapping(path)
    mapping = mapping if mapping is None or fold is None else replace(mapping, fold=fold)
    files = [file for file in files if not (isinstance(file, Path) and file.is_dir())]
    # Caches hold what their mapping has given.
    if mapping is None or not files or not mapping.is_unmeasured:
        return mapping
    from jetsym.jets.io.mapping.measure import measured

    return measured(mapping, files, skip_bad=skip_bad)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """yaml's own safe loader, which takes the last of two equal keys without a word.

    A word may begin with a backtick. Folded blocks (>) keep their lines where a # stands in them, as a comment ends
    with its line; those of text in quotes cannot be told, and are one line, in which comments are refused.
    """

    def check_plain(self) -> bool:
        return bool(super().check_plain()) or self.peek() == "`"

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        found = super().construct_scalar(node)
        if node.style == "|" or "#" not in found:
            return found
        if node.style == ">":
            written = node.start_mark.buffer[node.start_mark.pointer : node.end_mark.pointer]
            return written.partition("\n")[2]
        return " ".join(found.split())

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [getattr(key, "value", None) for key, _ in node.value]
        if twice := next((str(key) for key in keys if keys.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice!r} stands there twice", node.start_mark
            )
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found
