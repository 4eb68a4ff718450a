"""The untrained copy of a network: what its architecture alone does to the symmetry of its inputs."""

from __future__ import annotations

import copy

import torch
from torch import nn

from jetsym.errors import ProbeError

__all__ = ["untrained_copy"]


def untrained_copy(model: nn.Module, *, seed: int) -> nn.Module:
    """Return a copy of a module with every layer initialised afresh by its own ``reset_parameters``.

    The global random state is left as it was.

    Raises
    ------
    ProbeError
        A module holds parameters of its own and has no ``reset_parameters``.
    """
    fresh = copy.deepcopy(model)
    # torch.manual_seed reaches every accelerator, so the state of each is put back.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        for name, module in fresh.named_modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise ProbeError(
                    f"{name or type(model).__name__!r} ({type(module).__name__}) holds parameters and has no "
                    "reset_parameters(); give it one, or probe an untrained model yourself and leave baseline out"
                )
    return fresh
