"""Bias that a training puts into a PET, injected or by its loss, as metatrain's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetsym.atoms.architectures import INJECTED
from jetsym.atoms.architectures.inject import parse_injection
from jetsym.errors import ConfigError

__all__ = ["Bias", "bias_of", "expect_injection", "expect_start", "is_tensor"]


@dataclass(frozen=True)
class Bias:
    """The architecture that holds a bias, and its options.

    Parameters
    ----------
    architecture
        metatrain's name of it.
    model, training
        Options of the model and of the training that it takes beside PET's.
    """

    architecture: str
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


def bias_of(
    architecture: str,
    inject: str | None,
    penalty: float,
    penalty_on: Sequence[str] | None,
    targets: Mapping[str, Any],
) -> Bias:
    """Return what ``inject`` and ``penalty`` of :func:`jetsym.atoms.train` ask of metatrain.

    Parameters
    ----------
    architecture, inject, penalty, penalty_on
        As they were given.
    targets
        metatrain's section of targets.

    Raises
    ------
    ConfigError
        They cannot be had together, or of such targets.

    Examples
    --------
    >>> bias_of("pet", "harmonics:2", 0.0, None, {"energy": {}})
    Bias(architecture='experimental.jetsym_pet', model={'inject': 'harmonics:2'}, training={})
    >>> bias_of("pet", None, 0.0, None, {"energy": {}}).architecture
    'pet'
    """
    injection = parse_injection(inject)
    given = {"inject": inject, "penalty": penalty or None}
    if architecture != "pet" and (asked := {name: value for name, value in given.items() if value is not None}):
        name, value = next(iter(asked.items()))
        raise ConfigError(f"{name} is {value!r}, but architecture is {architecture!r}; only a 'pet' takes it")
    if injection.tensor_basis and not any(is_tensor(name, target) for name, target in targets.items()):
        raise ConfigError(
            f"inject is {inject!r}, but the targets are scalars ({', '.join(targets)}); expected one of vectors or "
            "tensors for the tensor-basis"
        )
    if not 0 <= penalty < float("inf"):
        raise ConfigError(f"penalty is {penalty}; expected a weight in the loss, 0 or more")
    if penalty_on and not penalty:
        raise ConfigError(f"penalty_on is {list(penalty_on)}, but penalty is 0; give it a weight above 0, such as 1")
    if isinstance(penalty_on, str):
        raise ConfigError(f"penalty_on is {penalty_on!r}; expected a list of names, such as [{penalty_on!r}]")
    if inject is None and not penalty:
        return Bias(architecture)
    training = {"penalty": float(penalty), "penalty_on": list(penalty_on or [])} if penalty else {}
    return Bias(INJECTED, {} if inject is None else {"inject": inject}, training)


def expect_start(inject: str | None, file: str | Path, content: Any, *, method: str) -> None:
    """Refuse to start from a model that cannot be trained further with an injection.

    A PET that has none can be given one where all of its weights are trained: its embedding then starts as it is.

    Parameters
    ----------
    inject
        What is asked for.
    file, content
        The checkpoint to start from, and what it holds.
    method
        Of the fine-tuning: "full", "heads" or "lora".

    Raises
    ------
    ConfigError
        The checkpoint has another injection, or none, and cannot be given it.

    Examples
    --------
    >>> plain = {"model_data": {"model_hypers": {"cutoff": 4.5}}}
    >>> expect_start("harmonics:2", "model.ckpt", plain, method="full")
    """
    inner = _inner(content)
    if inject is not None and _injected(inner) is None:
        if method != "full":
            raise ConfigError(
                f"inject is {inject!r}, but method is {method!r}, which trains no embedding; give method='full'"
            )
        if any(".lora_" in name for name in inner.get("best_model_state_dict") or ()):
            raise ConfigError(
                f"inject is {inject!r}, but {file} was fine-tuned by 'lora'; start from the model before that"
            )
        return
    expect_injection(inject, file, inner)


def _inner(content: Any) -> Any:
    """Return the checkpoint of the model itself, inside one with an uncertainty too."""
    wrapped = content.get("wrapped_model_checkpoint")
    return wrapped if isinstance(wrapped, Mapping) else content


def _injected(inner: Any) -> str | None:
    """Return what is injected into the model of a checkpoint."""
    found: str | None = inner.get("model_data", {}).get("model_hypers", {}).get("inject")
    return found


def expect_injection(inject: str | None, file: str | Path, content: Any) -> None:
    """Refuse to train a model further with another injection than its own: metatrain would do so without a word.

    Parameters
    ----------
    inject
        What is asked for.
    file, content
        The checkpoint to go on from, and what it holds; of a model with an uncertainty that in it counts.

    Raises
    ------
    ConfigError
        The checkpoint has another, or none.

    Examples
    --------
    >>> expect_injection(None, "model.ckpt", {"model_data": {"model_hypers": {"cutoff": 4.5}}})
    """
    found = _injected(_inner(content))
    if parse_injection(found) != parse_injection(inject):
        remedy = "leave inject out" if found is None else f"give inject={found!r}"
        raise ConfigError(f"inject is {inject!r}, but {file} has {found or 'none'}, and goes on as it is; {remedy}")


def is_tensor(name: str, target: Any) -> bool:
    """Tell whether metatrain's section of a target says that it is one of vectors or tensors.

    Examples
    --------
    >>> is_tensor("mtt::mu", {"type": {"cartesian": {"rank": 1}}}), is_tensor("energy", {"key": "energy"})
    (True, False)
    """
    kind = target.get("type") if isinstance(target, Mapping) else None
    return isinstance(kind, Mapping) or name.startswith("non_conservative")
