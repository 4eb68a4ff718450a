"""The commands that use a trained tagger: predict, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from jetsym.commands import use_network
from jetsym.errors import ConfigError
from jetsym.files import check_out

if TYPE_CHECKING:
    from jetsym.jets.io.block import BadJets
    from jetsym.jets.models import ParticleNet, Tagger

__all__ = ["export", "load_tagger", "placed", "predict"]


def predict(
    model: str,
    data: str | list[str],
    *,
    out: str,
    logits: bool = False,
    max_particles: int | None = None,
    batch_size: int = 512,
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    threads: int = 2,
    device: str = "auto",
    mapping: str | None = None,
    tree: str | None = None,
    vectors: str | None = None,
    fold: str | None = None,
    fold_by: str | None = None,
    friend: bool = False,
    resume: bool = False,
    network: str | None = None,
    progress: bool = True,
) -> Path:
    """Write a tagger's probabilities for jets, in their order; see :func:`jetsym.jets.evaluation.predict.predict`.

    Parameters
    ----------
    model
        As for :func:`jetsym.commands.symmetry.probe`.
    data
        Files of jets (ROOT, Parquet, HDF5 or npz): a path, a glob pattern, or a list of them; labels are not needed.
    out
        The file to write: a name that ends in .root or .parquet; {stem} in it with --friend.
    logits
        Write the logits beside the probabilities.
    max_particles
        Particles kept per jet; by default as many as in the tagger's training.
    batch_size
        Jets per forward pass.
    bad_jets
        "raise" or "drop", for jets without particles or with NaN or infinity; these have rows with scores of NaN.
    skip_bad
        Leave out files that cannot be read; damaged parts of files have rows with scores of NaN.
    threads
        Threads that read.
    device
        "cpu", "cuda", or "auto" for the latter where there is one.
    mapping, tree, vectors
        As for :func:`jetsym.commands.symmetry.probe`.
    fold
        k/n: give scores to the jets whose number of --fold_by is k modulo n alone. By default the fold that the run
        has held out of its training, if it has; "none" for all jets, even those that it was trained on.
    fold_by
        The column of whole numbers that tells folds apart; by default that of the run, or event.
    friend
        Write a friend of each file's tree: a tree "scores" of as many entries in the same order, with NaN where there
        is no score. Of several files each has its own; in --out {stem} stands for its name.
    resume
        With --friend, leave the friends as they are that an earlier call has made of the same files with the same
        tagger and options, such as one that was killed.
    network
        As for :func:`jetsym.commands.symmetry.probe`.
    progress
        Show a progress bar.
    """
    from jetsym.jets.evaluation.predict import predict as write
    from jetsym.jets.io.folds import NO_FOLD, judged_fold
    from jetsym.jets.io.mapping.parse import tagger_mapping

    use_network(network)
    tagger = load_tagger(model, device)
    return write(
        tagger,
        data,
        out,
        logits=logits,
        max_particles=max_particles,
        batch_size=batch_size,
        bad_jets=bad_jets,
        skip_bad=skip_bad,
        threads=threads,
        mapping=tagger_mapping(mapping, vectors=vectors, tree=tree, test=True, standardisation=tagger.standardisation),
        fold=judged_fold(tagger.held_out, fold, fold_by) or NO_FOLD,
        friend=friend,
        resume=resume,
        progress=progress,
    )


def export(model: str, *, out: str, tolerance: float = 1e-5, network: str | None = None) -> Path:
    """Write a trained tagger for other programs: as an ONNX graph, or as weights in weaver-core's layout.

    Parameters
    ----------
    model
        As for :func:`jetsym.commands.symmetry.probe`.
    out
        A name that ends in .onnx for a graph of raw four-momenta to logits, see
        :func:`jetsym.jets.export.export_onnx`; in .pt for weights of a ParticleTransformer or a ParticleNet.
    tolerance
        Largest difference of a logit between the graph and torch that is let pass, where logits are larger than one in
        units of the largest.
    network
        As for :func:`jetsym.commands.symmetry.probe`.
    """
    use_network(network)
    if Path(out).suffix not in (".onnx", ".pt"):
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .onnx, or in .pt for weaver's layout")
    path = check_out(out, inputs=model)
    tagger = load_tagger(model, "cpu")
    if path.suffix == ".pt":
        from jetsym.jets.models.weaver import export as write_weights

        write_weights(cast("ParticleNet", tagger), path)  # which refuses others
        return path
    from jetsym.jets.export import export_onnx

    return export_onnx(tagger, path, tolerance=tolerance)


def load_tagger(model: str, device: str) -> Tagger:
    """Load a tagger onto the device that a user names."""
    from jetsym.jets.checkpoint import load

    return load(model, device=placed(device))


def placed(device: str) -> str:
    """Return the device that a user means by cpu, cuda or auto."""
    import torch

    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device is {device!r}; expected cpu, cuda or auto")
    there = torch.cuda.is_available()
    if kind == "cuda" and not there:
        raise ConfigError(f"--device is {device!r}, but torch finds no CUDA device; use --device cpu or auto")
    return ("cuda" if there else "cpu") if kind == "auto" else device
