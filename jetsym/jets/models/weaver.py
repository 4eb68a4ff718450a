"""Weights published in weaver-core's layout: state dictionaries that torch.save wrote, opened without running them.

Source: H. Qu, C. Li, S. Qian, "Particle Transformer for Jet Tagging", arXiv:2202.03772, whose repository holds
networks trained on JetClass with each of the three feature sets; weaver-core names the tensors. The published networks
list their classes in JetClass's order, :data:`jetsym.jets.schema.CLASSES`, and are known by their contents. Tensors do
not tell all that a network computes (no neighbours, no activations, no meaning of a feature), so that of any other file
this is asked for, never assumed. A tagger that weaver-core has as well is a :class:`WeaverTagger`, and says what its
tensors are called there. Networks that have more than it are run by their own files, :func:`jetsym.jets.weaver`.
"""

from __future__ import annotations

import hashlib
import io
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from jetsym.errors import CheckpointError, ConfigError
from jetsym.files import finished_file
from jetsym.jets.features import FEATURE_SETS
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.registry import MODELS
from jetsym.jets.schema import CLASSES
from jetsym.jets.targets import refuse_target
from jetsym.reading import expect_stored

__all__ = ["WeaverNames", "WeaverTagger", "export", "feature_set", "length", "load", "read_state"]

#: Published files, by the identity that git gives their contents; their networks are as the defaults of the taggers.
PUBLISHED = {
    "cf510276bb5616caf87adace4e05eafab4b6c762": "ParT_full.pt",
    "70a82e78a7dc54601d4b19c089969fd917e397b9": "ParT_kin.pt",
    "f4bf560aed152f0b2acd37f60be1323ea84039f8": "ParT_kinpid.pt",
    "eab18fffeef62001aa08758ff954873b414ce3e4": "ParticleNet_full.pt",
    "e3577bd272824e2470e8a12c9b7fe314546da76f": "ParticleNet_kin.pt",
    "83075a3aed3e5d7e29fe1a53b3d9f90fec13e40c": "ParticleNet_kinpid.pt",
}
#: What stands before all names of a state dictionary, where it was a part of another module that was saved.
_WRAPPERS = ("mod.", "module.", "model.", "_orig_mod.")
#: Keys of a file under which the state dictionary stands, beside other things.
_KEYS = ("state_dict", "model_state_dict", "model")

#: Patterns of the names of a tagger's tensors, and what stands in their place in weaver-core; all are applied in turn.
WeaverNames = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


class WeaverTagger(Tagger):
    """A tagger that weaver-core has as well, whose weights go from one to the other.

    A subclass sets

    - ``weaver_names``: how its tensors are called in weaver-core;
    - ``weaver_marks``: beginnings of names by which such a file is recognised;
    - ``weaver_output``: the name in weaver-core of the weight that gives the logits;
    - ``weaver_unsaid``: what tensors do not tell: an option of the network, with None, or an option of weaver-core's
      that the network has not, with the only setting that it computes;
    - ``weaver_more``: pieces of names of tensors that such networks of weaver-core may have and this has not, in words.
    """

    weaver_names: ClassVar[WeaverNames]
    weaver_marks: ClassVar[tuple[str, ...]]
    weaver_output: ClassVar[str]
    weaver_unsaid: ClassVar[Mapping[str, Any]]
    weaver_more: ClassVar[Mapping[str, str]]

    @classmethod
    @abstractmethod
    def weaver_options(cls, theirs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Find in the shapes of weaver-core's tensors the options with which such a network is made.

        Raises
        ------
        ConfigError
            They are not those of such a network.
        """

    @staticmethod
    @abstractmethod
    def weaver_shape(name: str, tensor: Tensor) -> Sequence[int]:
        """Return the shape in weaver-core of a tensor, by its name there."""

    @classmethod
    def from_weaver(cls, path: str | Path, *, classes: Sequence[str] | None = None, **options: Any) -> Self:
        """Load a state dictionary of weaver-core.

        Parameters
        ----------
        path
            Weights as published with the ParT paper (``ParT_full.pt``, ``ParticleNet_kin.pt``, …), or of a network of
            your own with one of the same feature sets. Names may begin with ``mod.``, ``module.`` or ``model.``, and
            may spell ``in_proj_weight`` or ``in_proj.weight``.
        classes
            Names of the classes, in the order of the logits; those of JetClass for a published file.
        options
            What tensors do not tell; needed for all but published files.

        Returns
        -------
        WeaverTagger
            In evaluation mode.

        Raises
        ------
        CheckpointError
            There is no such file, or it is not a state dictionary, or not one of such a network, or something that
            its tensors do not tell is not said.
        """
        theirs, name = read_state(path), cls.__name__
        for piece, words in cls.weaver_more.items():
            if any(piece in one for one in theirs):
                raise CheckpointError(
                    f"{path} has {words}, which jetsym's {name} has not; run the network by its own file: "
                    "jetsym.jets.weaver(network, data, weights) or --weaver DIR"
                )
        try:
            found = cls.weaver_options(theirs) | cls._said(path, options, classes)
            classes = CLASSES if classes is None else classes
            outputs = length(theirs.get(cls.weaver_output))
            if outputs != len(classes):
                raise CheckpointError(
                    f"{path} has {outputs} outputs, but {len(classes)} classes are named: {tuple(classes)}; "
                    f"{name}.from_weaver(path, classes=…) takes other names"
                )
            model = cls(classes, **found)
        except ConfigError as error:
            raise CheckpointError(f"{path} does not fit a {name} of weaver-core: {error}") from error
        wanted = model.state_dict()
        ours = {model.weaver_name(one): one for one in wanted}
        tensors = {ours.get(one, one): tensor for one, tensor in theirs.items()}
        differing = sorted(
            one
            for one in wanted.keys() | tensors.keys()
            if one not in wanted or one not in tensors or _lengths(wanted[one]) != _lengths(tensors[one])
        )
        if differing:
            first = differing[0]
            raise CheckpointError(
                f"{path} does not fit a {name} of weaver-core: {len(differing)} tensors differ, the first is {first!r} "
                f"(file: {_shape(tensors, first)}, model: {_shape(wanted, first)})"
            )
        model.load_state_dict({one: tensor.reshape(wanted[one].shape) for one, tensor in tensors.items()})
        return model.eval()

    @classmethod
    def _said(cls, path: str | Path, options: Mapping[str, Any], classes: Sequence[str] | None) -> dict[str, Any]:
        """Return the options that are the network's own, when all that the tensors do not tell is said."""
        needed, said = ("classes", *cls.weaver_unsaid), {**options, **({} if classes is None else {"classes": classes})}
        missing = [name for name in needed if name not in said]
        if missing and not is_published(path):
            words = {name: "…" if only is None else repr(only) for name, only in cls.weaver_unsaid.items()}
            rest = "".join(f", {name}={word}" for name, word in words.items())
            raise CheckpointError(
                f"the tensors of {path} do not tell {', '.join(missing)}, and it is none of the published files: say "
                f"it, {cls.__name__}.from_weaver(path, classes=…{rest}), or run the network by its own file, "
                "jetsym.jets.weaver(network, data, weights) or --weaver DIR"
            )
        for name, only in cls.weaver_unsaid.items():
            if only is not None and said.get(name, only) != only:
                raise CheckpointError(
                    f"{name} is {said[name]!r}, and jetsym's {cls.__name__} computes with {only!r} alone; run the "
                    "network by its own file: jetsym.jets.weaver(network, data, weights) or --weaver DIR"
                )
        return {name: value for name, value in options.items() if cls.weaver_unsaid.get(name) is None}

    def to_weaver(self, path: str | Path) -> None:
        """Write the weights for weaver-core; see :func:`export`."""
        export(self, path)

    @classmethod
    def weaver_name(cls, name: str) -> str:
        """Return weaver-core's name of a tensor."""
        for pattern, replacement in cls.weaver_names:
            name = re.sub(pattern, replacement, name)
        return name


def load(path: str | Path, *, classes: Sequence[str] | None = None, **options: Any) -> WeaverTagger:
    """Load a state dictionary of weaver-core of whichever network its tensors are named for.

    Arguments and errors as of :meth:`WeaverTagger.from_weaver`.

    Raises
    ------
    CheckpointError
        There is no such file, it is not a state dictionary, or not one of a registered network.
    """
    names = read_state(path).keys()
    networks = [tagger for tagger in MODELS.values() if issubclass(tagger, WeaverTagger)]
    for tagger in networks:
        if any(name.startswith(tagger.weaver_marks) for name in names):
            return tagger.from_weaver(path, classes=classes, **options)
    known = " nor ".join(f"a {tagger.__name__} ({', '.join(tagger.weaver_marks)})" for tagger in networks)
    raise CheckpointError(
        f"{path} holds tensors of neither {known} of weaver-core; the first of its {len(names)} are "
        f"{', '.join(sorted(names)[:3])}"
    )


def export(model: Tagger, path: str | Path) -> None:
    """Write a network's weights as a state dictionary of weaver-core 0.5, without ``mod.``.

    Its ``ParticleTransformer`` reads it with ``load_state_dict``, when it is made with the sizes of ``model.config``,
    ``use_pre_activation_pair`` the opposite of ``pair_activation``, and ``fc_params=[]``; its ``ParticleNet`` with
    ``conv_params`` of ``k`` and ``channels``, ``fc_params`` of ``hidden``, and neither fusion nor counts.

    Parameters
    ----------
    model
        The network.
    path
        The file, replaced if it exists.

    Raises
    ------
    ConfigError
        It is a network of which weaver-core has none.
    """
    if not isinstance(model, WeaverTagger):
        known = " or ".join(f"a {tagger.__name__}" for tagger in MODELS.values() if issubclass(tagger, WeaverTagger))
        raise ConfigError(f"a {type(model).__name__} has no layout in weaver-core; expected {known}")
    refuse_target(model, "weaver-core's layout")
    state = {}
    for name, tensor in model.state_dict().items():
        theirs = model.weaver_name(name)
        state[theirs] = tensor.detach().cpu().reshape(model.weaver_shape(theirs, tensor))
    with finished_file(path) as unfinished:
        stream = io.BytesIO()  # as torch's own writer does not say what goes wrong with a disk
        torch.save(state, stream)
        unfinished.write_bytes(stream.getbuffer())


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a state dictionary that torch.save wrote, on the CPU, by name without ``mod.``.

    Nothing in the file is executed: only tensors and plain containers are opened.

    Raises
    ------
    CheckpointError
        There is no such file, or it holds anything else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; expected weights that torch.save wrote, such as *.pt")
    try:
        expect_stored(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises over a broken file is anything, down to KeyError
        reason = str(error).split(". ")[0].splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is not a whole state dictionary of tensors ({reason}); jetsym opens nothing else: fetch it again, "
            "or save model.state_dict()"
        ) from error
    inner = state
    if isinstance(state, dict):
        inner = next((state[key] for key in _KEYS if isinstance(state.get(key), dict)), state)
    if not isinstance(inner, dict) or not inner or not all(isinstance(value, Tensor) for value in inner.values()):
        raise CheckpointError(f"{path} holds a {type(state).__name__} and not tensors by name; save model.state_dict()")
    names = without_wrappers(inner)
    return {names[name]: tensor for name, tensor in inner.items()}


def without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Return names of tensors -> without what they all begin with as parts of a wrapper, with weaver-core's spelling.

    Examples
    --------
    >>> without_wrappers(["module.mod.fc.0.weight", "module.mod.cls_token"])
    {'module.mod.fc.0.weight': 'fc.0.weight', 'module.mod.cls_token': 'cls_token'}
    """
    # Older versions of weaver-core had torch's own attention, whose projections are no layers.
    found = {name: re.sub(r"in_proj_(weight|bias)$", r"in_proj.\1", str(name)) for name in names}
    while wrapper := next((one for one in _WRAPPERS if all(name.startswith(one) for name in found.values())), None):
        found = {name: short.removeprefix(wrapper) for name, short in found.items()}
    return found


def is_published(path: str | Path) -> bool:
    """Tell whether a file is one of those that were published with the ParT paper, byte by byte."""
    content = Path(path).expanduser().read_bytes()
    start = f"blob {len(content)}\0".encode()
    return hashlib.sha1(start + content, usedforsecurity=False).hexdigest() in PUBLISHED


def feature_set(norm: Tensor | None, *, layers: int, of: str) -> str:
    """Name the feature set that a normalisation of the inputs is of; ``layers`` of what follows must be there.

    Raises
    ------
    ConfigError
        There is none of that length, or no layer.
    """
    features, sets = length(norm), {len(names): kind for kind, (_, names) in FEATURE_SETS.items()}
    if not layers or features not in sets:
        known = ", ".join(map(str, sets))
        raise ConfigError(f"expected one with {known} features ({layers} {of}, {features} features)")
    return sets[features]


def length(tensor: Tensor | None) -> int:
    """Return the length of the first axis; 0 where there is none."""
    return 0 if tensor is None or not tensor.ndim else len(tensor)


def _lengths(tensor: Tensor) -> list[int]:
    """List the axes that are longer than one."""
    return [length for length in tensor.shape if length != 1]


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...] | str:
    return tuple(tensors[name].shape) if name in tensors else "absent"
