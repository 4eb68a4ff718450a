"""``jetsym download weights``: networks that were trained on JetClass and published with the ParT paper.

Source: H. Qu, C. Li, S. Qian, "Particle Transformer for Jet Tagging", arXiv:2202.03772, and its public repository, at a
fixed commit. A file is known to be the right one where its SHA-256 stands in :data:`WEIGHTS`; the others are fetched
only on demand, as nothing but the connection vouches for them. jetsym opens any of them with ``weights_only``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jetsym.errors import ConfigError, closest
from jetsym.jets.io.download.fetch import fetch

__all__ = ["WEIGHTS", "Published", "chosen", "download_weights"]

_REPOSITORY = "https://raw.githubusercontent.com/jet-universe/particle_transformer"
_COMMIT = "2925bdb249e8ef78560cc2b9b651eda3615da8c7"


@dataclass(frozen=True)
class Published:
    """A published file.

    Parameters
    ----------
    file
        Its name in the repository's folder ``models``.
    size
        In bytes; None where it is not known.
    sha256
        None where it is not known.
    """

    file: str
    size: int | None = None
    sha256: str | None = None

    @property
    def url(self) -> str:
        """Address of the file."""
        return f"{_REPOSITORY}/{_COMMIT}/models/{self.file}"


#: Name of a model -> its published weights, for each of the field's feature sets.
WEIGHTS = {
    "particlenet-kin": Published(
        "ParticleNet_kin.pt", 1_514_546, "73aff244c657db0f7b62abe9ad13ec007c17cf10057ff1ad54c320f3bd4a4f26"
    ),
    "particlenet-kinpid": Published("ParticleNet_kinpid.pt"),
    "particlenet-full": Published("ParticleNet_full.pt"),
    "part-kin": Published("ParT_kin.pt"),
    "part-kinpid": Published("ParT_kinpid.pt"),
    "part-full": Published("ParT_full.pt"),
}


def chosen(model: str | Sequence[str] | None, *, allow_unverified: bool = False) -> dict[str, Published]:
    """Return the files meant by the options of ``jetsym download weights``.

    Parameters
    ----------
    model
        Keys of :data:`WEIGHTS`; None takes all whose checksum is known.
    allow_unverified
        Take models whose checksum is not known.

    Raises
    ------
    ConfigError
        There is no such model, or its checksum is not known.

    Examples
    --------
    >>> list(chosen(None))
    ['particlenet-kin']
    >>> chosen("part-full")
    Traceback (most recent call last):
    jetsym.errors.ConfigError: --model part-full: its checksum is not known, so that nothing could tell a wrong file \
from the right one; give --allow_unverified to fetch it all the same, or choose of particlenet-kin
    """
    verified = [name for name, item in WEIGHTS.items() if item.sha256]
    names = verified if model is None else [model] if isinstance(model, str) else list(model)
    for name in names:
        if name not in WEIGHTS:
            raise ConfigError(f"--model is {name!r}; {closest(name, WEIGHTS)}")
        if name not in verified and not allow_unverified:
            raise ConfigError(
                f"--model {name}: its checksum is not known, so that nothing could tell a wrong file from the right "
                f"one; give --allow_unverified to fetch it all the same, or choose of {', '.join(verified)}"
            )
    return {name: WEIGHTS[name] for name in names}


def download_weights(
    model: str | Sequence[str] | None = None,
    *,
    out: str | Path = ".",
    allow_unverified: bool = False,
    progress: bool = True,
) -> dict[str, Path]:
    """Fetch published weights; see :func:`chosen` for the options, and for which need ``allow_unverified``.

    Returns
    -------
    dict
        Name of the model -> its file in the folder ``out``, under its published name.

    Raises
    ------
    ConfigError
        See :func:`chosen`.
    DownloadError
        See :func:`jetsym.jets.io.download.fetch.fetch`.
    """
    return {
        name: fetch(item.url, Path(out).expanduser() / item.file, sha256=item.sha256, size=item.size, progress=progress)
        for name, item in chosen(model, allow_unverified=allow_unverified).items()
    }
