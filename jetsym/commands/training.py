"""The commands that train taggers, and that repair what they lack: train, repair."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jetsym.commands import save
from jetsym.errors import ConfigError
from jetsym.files import check_out
from jetsym.lazy import is_entry
from jetsym.locks import locked

__all__ = ["repair", "train"]


def train(
    data: str | list[str], out: str, *, dry_run: bool = False, find_lr: bool = False, **options: Any
) -> Path | None:
    """Train a tagger on ROOT files; see :func:`jetsym.train`.

    Parameters
    ----------
    data
        Files of jets to train on: a path, a glob pattern, a directory, a cache, @LIST, or several of them.
    out
        Folder of the run.
    dry_run
        Train and validate on one batch only, and write nothing.
    find_lr
        Only look for a learning rate, by steps with growing ones; a table is printed, and learning_rate.json and .png
        are written to the folder.
    """
    from jetsym.training.engine import is_first_process
    from jetsym.training.loop import train as train_tagger

    _import_own(options)
    if dry_run or find_lr:
        _try_before(data, Path(out), options, find=find_lr)
        return None
    path = train_tagger(data, out, **options).path
    return path if is_first_process() else None


def _import_own(options: dict[str, Any]) -> None:
    """Import the network of one's own that ``--model`` names, if it does, and put its own name there."""
    if is_entry(options.get("model")):
        from jetsym.jets.models.own import imported_network, own_tagger

        options["model"] = own_tagger(imported_network("--model", options["model"])).name


def _try_before(data: str | list[str], out: Path, options: dict[str, Any], *, find: bool) -> None:
    from jetsym.training.config import TrainConfig
    from jetsym.training.engine import is_first_process
    from jetsym.training.trials import dry_run, find_lr

    run = ("resume", "overwrite", "progress")
    config = TrainConfig(data=data, **{name: value for name, value in options.items() if name not in run})
    if find:
        check_out(out, inputs=[config.data, config.val, config.init], folder=True)
        with locked(out, "jetsym train --find_lr") if is_first_process() else nullcontext():
            curve = find_lr(config, progress=options.get("progress", True))
            if is_first_process():
                save(curve, out / "learning_rate.json")
                print(curve, end="")
        return
    found = dry_run(config)
    if is_first_process():
        for name, value in found.items():
            print(f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value:,}")


def repair(
    run: str,
    *,
    finding: str,
    report: str | None = None,
    remedy: str | None = None,
    weight: float | None = None,
    from_weights: bool = False,
    out: str | None = None,
) -> Path:
    """Write the configuration of a run that repairs what was found in another, of jetsym train or jetsym atoms train.

    Where it is the measurement that says too little, the options of a probe that would say more.
    See :func:`jetsym.repair.dispatch.repair`.

    Parameters
    ----------
    run
        Folder of the run.
    finding
        What was found, as jetsym diagnose names it.
    report
        The report or the diagnosis it was found in, for group, frame and axis; a report tells as well what an average
        at inference takes.
    remedy
        What to do about it, such as augment; another word names those that there are. By default the least intrusive
        one that repairs the finding and that the run does not have.
    weight
        Of a new penalty; by default 0.1.
    from_weights
        Begin from the best weights of the run instead of anew.
    out
        A YAML file to write to; by default ``repair-FINDING.yaml`` in the folder of the run.
    """
    from jetsym.repair import repair as repaired_run

    name = Path(run).expanduser() / f"repair-{finding}.yaml" if out is None else out
    if Path(name).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .yaml")
    repaired = repaired_run(
        run, finding=finding, report=report, remedy=remedy, weight=weight, from_weights=from_weights
    )
    path = repaired.save(name)
    print(repaired, end="")
    print(f"Go on with: {repaired.start(path)}")
    return path
