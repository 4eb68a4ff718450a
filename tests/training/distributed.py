"""Train as a JSON file says, as one of several processes; a program of its own, for torchrun.

``distributed.py OPTIONS.json LOSSES.json``: writes the mean loss of every step.
"""

import json
import sys
from pathlib import Path

import torch

from jetsym.training.loop import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    losses: list[float] = []
    options = json.loads(Path(sys.argv[1]).read_text())
    train(**options, progress=False, callbacks=[lambda moment: losses.append(moment.loss)])
    if losses:  # callbacks are called on the first process alone
        Path(sys.argv[2]).write_text(json.dumps([loss for loss in losses if loss == loss]))
