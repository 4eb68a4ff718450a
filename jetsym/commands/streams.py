"""Streams that no letter and no reader who has gone can end the work with."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

__all__ = ["patient_streams"]


class _Outlet(io.FileIO):
    """A stream to a terminal, a file or a pipe; when its reader has gone, what is written to it is dropped."""

    lost = False

    def write(self, data: Any) -> int:
        if self.lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            self.lost = True
            return memoryview(data).nbytes
        except OSError:  # such as a full disk: said once
            self.lost = True
            raise


@contextmanager
def patient_streams() -> Iterator[None]:
    """Let nothing that is printed, in whatever encoding and to whomever, end the work."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _patient(sys.stdout, sys.__stdout__), _patient(sys.stderr, sys.__stderr__)
    try:
        yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        sys.stdout, sys.stderr = before


def _patient(stream: TextIO | None, own: TextIO | None) -> TextIO:
    """Return what stands for a stream of the process; another, such as a notebook's, is returned as it is."""
    if stream is None:  # closed by whoever started the process
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper) or stream is not own or os.name == "nt":
        return stream
    stream.flush()
    outlet = io.BufferedWriter(_Outlet(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(
        outlet,
        stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
