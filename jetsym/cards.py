"""Model cards: the page README.md of a shared model, with the head in YAML that the Hugging Face hub reads.

A card says of a model what has been measured of it: how well it tells classes apart, and which symmetry it has. Its
text is the template ``templates/card.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from jetsym._version import __version__
from jetsym.errors import ConfigError, shorten
from jetsym.text import concise

__all__ = ["Evaluated", "Measured", "Shared", "Symmetries", "markdown_table", "model_card"]

#: Of the page, which is Markdown: nothing is escaped for HTML, cells of tables and words of the head are for these.
_TEMPLATES = Environment(
    loader=PackageLoader("jetsym", "templates"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
#: Metric -> what the hub calls its kind, where it knows it.
_KINDS = {"accuracy": "accuracy", "macro_auc_ovo": "roc_auc", "macro_auc_ovr": "roc_auc", "auc_top_qcd": "roc_auc"}


class Evaluated(Protocol):
    """What a card takes of an evaluation: see :class:`jetsym.jets.evaluation.report.Evaluation`."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Values by name, with standard errors as ``…_stderr``."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """Facts of the measurement: ``jets`` is their number."""

    @property
    def rotated(self) -> Evaluated | None:
        """The same on rotated inputs."""


class Shared(Protocol):
    """What a card takes of a model: see :class:`jetsym.jets.models.pretrained.Pretrained`."""

    def card_facts(self) -> Mapping[str, Any]:
        """Return ``title``, ``about`` (sentences), ``tags``, ``library`` and ``use`` (a function of the repository)."""


@dataclass(frozen=True)
class Measured:
    """A number in the head of a card: its kind as the hub names it, its name, and its value."""

    kind: str
    name: str
    value: float


@dataclass(frozen=True)
class Symmetries:
    """The measured symmetry of a model: sentences, tables in Markdown, how it was measured, numbers for the head."""

    sentences: Sequence[str]
    outputs: str
    layers: str
    settings: str
    version: str = __version__
    numbers: Sequence[Measured] = field(default=())
    known_to: float = 3.0


def model_card(
    model: Shared | None = None,
    *,
    title: str = "",
    evaluation: Evaluated | None = None,
    symmetries: Symmetries | None = None,
    repo_id: str | None = None,
    dataset: str | None = None,
    license: str | None = None,
) -> str:
    """Return the card of a model as Markdown.

    Parameters
    ----------
    model
        The model, to be described, and to say how it is loaded.
    title
        Its name, where there is no ``model``.
    evaluation, symmetries
        What has been measured of it.
    repo_id
        Where it is shared, such as "user/name".
    dataset
        What it was evaluated on.
    license
        Of its weights, as the hub names it, such as "bsd-3-clause".

    Raises
    ------
    ConfigError
        The evaluation is of another kind, such as that of a network that predicts a number.
    """
    if evaluation is not None and not hasattr(evaluation, "metrics"):
        raise ConfigError(
            f"evaluation is {shorten(evaluation)}; expected what evaluate of a tagger gives, with metrics"
        )
    facts: dict[str, Any] = {"title": title, "about": [], "tags": [], "library": None, "use": None}
    if model is not None:
        facts |= model.card_facts()
    tags = ["symmetry", "equivariance", "jetsym", *facts["tags"]]
    head: dict[str, Any] = {"library_name": facts["library"], "license": license, "tags": list(dict.fromkeys(tags))}
    numbers = [*_numbers(evaluation), *(symmetries.numbers if symmetries else ())]
    if numbers:
        head["model-index"] = [_index(facts["title"], numbers, dataset)]
    return _TEMPLATES.get_template("card.md").render(
        head=yaml.safe_dump({name: value for name, value in head.items() if value}, sort_keys=False, width=1000),
        title=_line(facts["title"]),
        about=list(map(_line, facts["about"])),
        use=facts["use"](repo_id or "USER/NAME") if facts["use"] else None,
        quality=_quality(evaluation),
        quality_of=_quality_of(evaluation, dataset),
        sentences=list(map(_line, symmetries.sentences)) if symmetries else [],
        outputs=symmetries.outputs if symmetries else "",
        symmetry=symmetries.layers if symmetries else "",
        settings=_line(symmetries.settings) if symmetries else "",
        known_to=f"{symmetries.known_to:g}" if symmetries else "",
        version=symmetries.version if symmetries else "",
    )


def markdown_table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    r"""Return a table in Markdown, whatever its cells hold.

    Examples
    --------
    >>> print(markdown_table(["layer", "A"], [["a|b", "0.21(3)"]]))
    | layer | A |
    |---|---|
    | a\|b | 0.21(3) |
    """
    lines = [list(map(_cell, row)) for row in [heads, *rows]]
    written = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([written[0], "|---" * len(lines[0]) + "|", *written[1:]])


def _index(title: str, numbers: Sequence[Measured], dataset: str | None) -> dict[str, Any]:
    """Return what the hub shows beside a model, in its own form."""
    metrics = [{"type": one.kind, "name": one.name, "value": one.value} for one in numbers if math.isfinite(one.value)]
    task = {"type": "other", "name": "Classification and symmetry"}
    data = {"type": "other", "name": dataset or "not named"}
    return {"name": title or "model", "results": [{"task": task, "dataset": data, "metrics": metrics}]}


def _numbers(evaluation: Evaluated | None) -> list[Measured]:
    if evaluation is None:
        return []
    of = [("", evaluation.metrics), (" of rotated inputs", evaluation.rotated.metrics if evaluation.rotated else {})]
    return [
        Measured(_KINDS[name], f"{name}{where}", value)
        for where, metrics in of
        for name, value in metrics.items()
        if name in _KINDS
    ]


def _quality(evaluation: Evaluated | None) -> str:
    """Return the table of an evaluation's metrics, with errors."""
    if evaluation is None:
        return ""
    columns = [evaluation, *([evaluation.rotated] if evaluation.rotated else [])]
    names = [name for name in evaluation.metrics if not name.endswith(("_stderr", "_floor"))]
    heads = ["metric", *("as they are", "rotated at random")[: len(columns)]]
    return markdown_table(heads, [[name, *(_value(one.metrics, name) for one in columns)] for name in names])


def _value(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return "–"
    text = concise(metrics[name], metrics.get(f"{name}_stderr", math.nan))
    floor = metrics.get(f"{name}_floor")
    return text if floor is None else f"{text} ({concise(floor)} if perfect)"


def _quality_of(evaluation: Evaluated | None, dataset: str | None) -> str:
    if evaluation is None:
        return ""
    of = f" of {_line(dataset)}" if dataset else ""
    return f"On {evaluation.meta['jets']:,} jets{of}, with standard errors in the last digits."


def _line(text: str) -> str:
    """Write a text as one line."""
    return " ".join(str(text).split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
