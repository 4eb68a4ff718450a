"""The Hugging Face hub, by its own package: that it is there, whether it can be reached, and what its errors mean."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import getproxies

from jetsym.errors import ConfigError, DownloadError, JetsymError, require

__all__ = ["expected_of", "hub", "unresolved"]

#: How the names of packages begin that carry what huggingface_hub sends; it passes some of their errors on as they are.
_TRANSPORTS = ("huggingface_hub", "httpx", "httpcore", "requests", "urllib3")


def hub(*, extra: str, purpose: str) -> ModuleType:
    """Return ``huggingface_hub``, or say how to install it; see :func:`jetsym.errors.require`."""
    for part in ("errors", "constants"):  # which the package does not bring by itself
        require(f"huggingface_hub.{part}", extra=extra, purpose=purpose)
    return require("huggingface_hub", extra=extra, purpose=purpose)


def unresolved(package: ModuleType) -> OSError | None:
    """Return the error of a hub whose name is not resolved; without a network its package tries for half a minute."""
    address = urlsplit(package.constants.ENDPOINT)
    if package.constants.HF_HUB_OFFLINE or getproxies():  # it says so itself, or the proxy resolves the name
        return None
    try:
        socket.getaddrinfo(address.hostname, address.port or 443)
    except OSError as error:
        return error
    return None


@contextmanager
def expected_of(package: ModuleType, repo_id: str, *, purpose: str, otherwise: str = "") -> Iterator[None]:
    """Say of what the hub or the way to it refuses what it was, and what helps; ``otherwise`` where there is no way.

    Raises
    ------
    ConfigError
        That is no name of a repository, or the hub does not take the head of a card.
    DownloadError
        There is none of that name, it may not be read or written, or it is not reached.
    """
    errors = package.errors
    try:
        yield
    except JetsymError:
        raise
    except errors.LocalEntryNotFoundError as error:  # of many kinds, by version
        raise _not_reached(package, repo_id, error, purpose, otherwise) from error
    except errors.HFValidationError as error:
        raise ConfigError(f"{repo_id!r} is no name of a repository; expected one such as 'user/name'") from error
    except ValueError as error:
        raise ConfigError(f"the hub does not take it for {purpose} {repo_id}: {error}") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise DownloadError(
            f"{package.constants.ENDPOINT} shows no such repository or revision for {purpose} {repo_id}: check the "
            "name, or log in (`hf auth login`, or token=…) where it is private"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "no status")
        raise DownloadError(
            f"{package.constants.ENDPOINT} refuses {purpose} {repo_id} ({status}): log in (`hf auth login`, or "
            "token=…) with the right to do it"
        ) from error
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith(_TRANSPORTS):
            raise
        raise _not_reached(package, repo_id, error, purpose, otherwise) from error


def _not_reached(package: ModuleType, repo_id: str, error: Exception, purpose: str, otherwise: str) -> DownloadError:
    return DownloadError(
        f"{package.constants.ENDPOINT} is not reached for {purpose} {repo_id} ({type(error).__name__}): try again with "
        f"a network{otherwise}"
    )
