"""Taggers that are shared: folders of weights, configuration and card, and the Hugging Face hub.

Weights are a checkpoint of jetsym in safetensors; ``config.json`` repeats what its header says, for people and for the
hub. Nothing of a folder is run, and no pickle is read. Tokens, branches and the cache are left to the hub's own
package, and a push to its mixin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch

from jetsym._version import __version__
from jetsym.arguments import anything, checked
from jetsym.cards import model_card
from jetsym.errors import CheckpointError, ConfigError
from jetsym.files import check_out, write_atomically, write_json
from jetsym.hub import expected_of, hub, unresolved
from jetsym.reading import as_json, parse_json, read_text

__all__ = ["CARD", "CONFIG", "WEIGHTS", "Checkpoints", "Pretrained", "keep_weights_by"]

#: Files of a folder, as the hub names them.
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

_EXTRA, _PURPOSE = "hub", "taggers on the Hugging Face hub"


@dataclass(frozen=True)
class Checkpoints:
    """What writes and reads weights: the functions of :mod:`jetsym.jets.checkpoint`, which stands above taggers."""

    save: Callable[..., None]
    read: Callable[[Path], tuple[Any, Any]]
    load: Callable[..., Any]


#: What writes and reads weights has said so here, as it makes taggers by name.
_CHECKPOINTS: list[Checkpoints] = []


def keep_weights_by(checkpoints: Checkpoints) -> None:
    """Say what writes and reads the weights of taggers that are shared."""
    _CHECKPOINTS[:] = [checkpoints]


class Pretrained:
    """What taggers have of the hub: ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``."""

    @checked()
    def save_pretrained(self, save_directory: str | Path, *, card: str | None = None) -> Path:
        """Write the tagger into a folder: weights, configuration and card, which :meth:`from_pretrained` reads.

        Parameters
        ----------
        save_directory
            The folder, made where there is none.
        card
            The page ``README.md``, as of :meth:`jetsym.SymmetryReport.to_model_card`; by default one that says that
            the tagger has not been measured, where the folder has none.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ConfigError
            The folder cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from jetsym.jets.models import PointNet, Tagger
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saved = PointNet(("QCD", "Tbqq"), width=8).save_pretrained(folder)
        ...     print(*sorted(path.name for path in saved.iterdir()))
        ...     Tagger.from_pretrained(folder).classes
        README.md config.json model.safetensors
        ('QCD', 'Tbqq')
        """
        tagger, folder = _of(self), check_out(save_directory, folder=True)
        _CHECKPOINTS[0].save(folder / WEIGHTS, tagger, config=_learned(tagger))
        write_json(folder / CONFIG, _configuration(_CHECKPOINTS[0].read(folder / WEIGHTS)[0]))
        if card is not None or not (folder / CARD).exists():
            write_atomically(folder / CARD, model_card(tagger) if card is None else card)
        return folder

    @classmethod
    @checked(token=anything)
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        device: torch.device | str = "cpu",
        model: Any = None,
    ) -> Self:
        """Load a tagger from a folder of :meth:`save_pretrained`, or from the hub; nothing of it is run.

        Called on :class:`~jetsym.jets.models.base.Tagger`, it loads any tagger; called on a class of taggers, one of
        that class.

        Parameters
        ----------
        pretrained_model_name_or_path
            A folder, or a repository of the hub such as "user/name" (needs the extra ``hub``).
        revision
            Branch, tag or commit in the repository.
        token
            Of the hub, for what is not public; by default that of ``hf auth login``.
        cache_dir
            Where downloaded files are kept; by default in the cache of the hub's package.
        local_files_only
            Take what is in the cache, without a look at the hub.
        force_download
            Fetch what is in the cache once more.
        device
            Where to put it.
        model
            Of a network of one's own: its class, as no code is shared; see :func:`jetsym.load`.

        Returns
        -------
        Tagger
            In evaluation mode, as of :func:`jetsym.load`.

        Raises
        ------
        CheckpointError
            It does not hold a tagger of this class, whole and intact.
        DownloadError
            There is no such repository, or it is not reached and not in the cache.
        ConfigError
            That is neither a folder nor a name of a repository.
        MissingDependencyError
            A repository is named, and the extra ``hub`` is not installed.
        """
        place = Path(pretrained_model_name_or_path).expanduser()
        if not place.is_dir():
            name = str(pretrained_model_name_or_path)
            wanted: dict[str, Any] = {"revision": revision, "token": token, "cache_dir": cache_dir}
            place = _fetched(name, force_download=force_download, local_files_only=local_files_only, **wanted)
        return cast("Self", _opened(place, cls, model).to(device))

    @checked(token=anything)
    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: str | None = None,
        commit_message: str = "Add a tagger of jetsym",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Put what :meth:`save_pretrained` writes into a repository of the hub (needs the extra ``hub``).

        Parameters
        ----------
        repo_id
            The repository, such as "user/name"; made where there is none.
        card
            The page ``README.md``; see :meth:`save_pretrained`.
        commit_message
            What the commit says.
        private
            Whether a repository that is made can be seen by those alone who may.
        token
            Of the hub, with the right to write; by default that of ``hf auth login``.
        branch
            Where to put it; by default the main branch.
        create_pr
            Propose the change, instead of making it.

        Returns
        -------
        str
            Address of the commit; of the repository's files where the hub's package is older than 1.0.

        Raises
        ------
        DownloadError
            The hub is not reached, or refuses.
        ConfigError
            That is no name of a repository.
        MissingDependencyError
            The extra ``hub`` is not installed.
        """
        package = hub(extra=_EXTRA, purpose=_PURPOSE)
        shared = _mixin(package)(self, card if card is not None else model_card(self, repo_id=repo_id))
        with expected_of(package, repo_id, purpose="a push to"):
            error = unresolved(package)
            if error is not None:
                raise error
            options = {"private": private, "token": token, "branch": branch, "create_pr": create_pr}
            return str(shared.push_to_hub(repo_id, commit_message=commit_message, **options))

    def card_facts(self) -> Mapping[str, Any]:
        """Return what a card says of the tagger itself; see :class:`jetsym.cards.Shared`."""
        tagger = _of(self)
        parameters = sum(parameter.numel() for parameter in tagger.parameters())
        options = ", ".join(f"{name}={value!r}" for name, value in asdict(tagger.config).items())
        return {
            "title": tagger.name,
            "about": [
                f"A network on jets, {type(tagger).__name__}, with {parameters:,} parameters: momenta (E, px, py, pz) "
                f"in GeV of up to {tagger.max_particles} particles a jet in, {_said_of_outputs(tagger)} out.",
                f"Options: {options or 'none'}.",
            ],
            "tags": ["jet-tagging"],
            "library": "jetsym",
            "use": lambda repo_id: _use(repo_id, getattr(type(tagger), "kind", None)),
        }


def _use(repo_id: str, own: type | None) -> str:
    """Return the lines that load a tagger; ``own`` is the class of a network of a user."""
    code = f"from {own.__module__} import {own.__qualname__}  # your network, which is not shared\n" if own else ""
    given = f", model={own.__qualname__}" if own else ""
    return (
        f"import jetsym\nfrom jetsym.jets.models import Tagger\n{code}\n"
        f'tagger = Tagger.from_pretrained("{repo_id}"{given})  # pip install "jetsym[hub]"\n'
        "print(jetsym.probe(tagger))"
    )


def _of(tagger: Pretrained) -> Any:
    """Return a tagger as what it is: the class of taggers is derived from this one."""
    return tagger


def _learned(tagger: Any) -> dict[str, Any]:
    """Return what a network has of its training besides weights, as the configuration in a checkpoint says it."""
    kept = {"max_particles": tagger.max_particles, "standardisation": tagger.standardisation}
    if tagger.held_out is not None:
        kept |= dict(zip(("fold", "fold_by"), tagger.held_out, strict=True))
    if tagger.target is not None:
        target = tagger.target
        kept |= {"target": target.name, "target_scale": [target.centre, target.scale], "loss": target.loss}
    return kept


def _said_of_outputs(tagger: Any) -> str:
    if tagger.target is None:
        return f"one logit a class ({', '.join(tagger.classes)})"
    unit = f"in units of {tagger.target.scale:.4g} above {tagger.target.centre:.4g}"
    return f"{', '.join(tagger.target.outputs)} ({unit}, as its column has it)"


def _configuration(header: Any) -> dict[str, Any]:
    """Return what ``config.json`` says: what the header of the weights does, for those who do not open it."""
    made: dict[str, Any] = {"library_name": "jetsym", "jetsym_version": __version__, "model": header.model}
    shape = {"options": header.options, "classes": list(header.classes)}
    return made | shape | {name: header.config.get(name) for name in ("max_particles", "target")}


def _opened(folder: Path, cls: type, model: Any) -> Any:
    """Load the tagger of a folder, whose configuration must say what its weights do."""
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder} holds no {WEIGHTS}; expected what save_pretrained of a tagger wrote")
    header, _ = _CHECKPOINTS[0].read(folder / WEIGHTS)
    try:
        said = parse_json(read_text(folder / CONFIG)) if (folder / CONFIG).is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read ({error}); copy it again") from error
    meant = as_json({"model": header.model, "options": header.options, "classes": list(header.classes)})
    for name in meant if said else ():
        if not isinstance(said, dict) or said.get(name) != meant[name]:
            raise CheckpointError(
                f"{folder / CONFIG} and the header of {WEIGHTS} differ in {name!r}: they are of different taggers; "
                "take both files from one place"
            )
    tagger = _CHECKPOINTS[0].load(folder / WEIGHTS, model=model)
    if not isinstance(tagger, cls):
        raise CheckpointError(
            f"{folder} holds a {header.model!r}, which is no {cls.__name__}; Tagger.from_pretrained loads any"
        )
    return tagger


def _fetched(repo_id: str, *, local_files_only: bool, **options: Any) -> Path:
    """Download a repository's weights and configuration, or find them in the cache; return their folder."""
    if repo_id.count("/") != 1 or repo_id.startswith((".", "~", "/")):
        raise ConfigError(f"there is no folder {repo_id!r}, and it is no name of a repository, such as 'user/name'")
    package = hub(extra=_EXTRA, purpose=_PURPOSE)
    otherwise = ", as it is not in the cache, or give the path of a folder"
    with expected_of(package, repo_id, purpose="a tagger from", otherwise=otherwise):
        options["local_files_only"] = local_files_only or unresolved(package) is not None
        try:
            weights = Path(package.hf_hub_download(repo_id, WEIGHTS, **options))
        except package.errors.EntryNotFoundError as error:
            if isinstance(error, package.errors.LocalEntryNotFoundError):
                raise
            raise CheckpointError(
                f"{repo_id} holds no {WEIGHTS}; expected what push_to_hub of a tagger wrote (pickles are not opened)"
            ) from error
        with suppress(package.errors.EntryNotFoundError):  # the weights say all that it says
            package.hf_hub_download(repo_id, CONFIG, **options)
    return weights.parent


def _mixin(package: Any) -> Any:
    """Return what puts a tagger on the hub: the mixin of its package, which writes as the above does."""

    class Joined(package.ModelHubMixin):  # type: ignore[misc]  # known when it runs
        def __init__(self, tagger: Any, card: str) -> None:
            self.tagger, self.card = tagger, card

        def _save_pretrained(self, save_directory: Path) -> None:
            self.tagger.save_pretrained(save_directory, card=self.card)

    return Joined
