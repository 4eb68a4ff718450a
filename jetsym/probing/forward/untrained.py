"""The untrained copy of a network: what its architecture alone does to the symmetry of its inputs."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from jetsym.errors import ProbeError

__all__ = ["untrained_copy"]


def untrained_copy(model: nn.Module, *, seed: int, draw: int = 0) -> nn.Module:
    """Return a copy of a module with every layer initialised afresh by its own ``reset_parameters``.

    The global random state is left as it was.

    Parameters
    ----------
    model
        The module.
    seed, draw
        Two numbers that the initialisation is drawn from.

    Raises
    ------
    ProbeError
        Nothing redraws some parameters, or there are none.
    """
    fresh = copy.deepcopy(model)
    parameters = dict(fresh.named_parameters())
    if not parameters:
        raise ProbeError(f"baseline='untrained' needs parameters to draw anew, and {type(model).__name__} has none")
    with torch.no_grad():  # what is left of this in the end was not redrawn
        for parameter in parameters.values():
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.fill_(torch.nan)
    # torch.manual_seed reaches every accelerator, so the state of each is put back.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(np.random.SeedSequence([seed, draw]).generate_state(1)[0]))
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
    kept = [name for name, parameter in parameters.items() if torch.isnan(parameter).any()]
    if kept:
        raise ProbeError(
            f"nothing redraws {', '.join(map(repr, kept[:3]))}{' and more' if len(kept) > 3 else ''}: the modules that "
            "hold them have no reset_parameters() that does; give them one, or give a baseline of your own"
        )
    return fresh
