"""Make the environment of a published package of potentials, and run its tests: ``python -m tests.potentials NAME``.

The pins of NAME.txt are installed into a folder of their own, which comes before jetsym's environment on the path: what
they share, torch, numpy and ase, is jetsym's own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(file.stem for file in HERE.glob("*.txt"))


def environment(name: str) -> Path:
    """Return the folder of a package's pins, made now where it is not there yet."""
    pins = HERE / f"{name}.txt"
    mark = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"jetsym-potentials-{os.getuid()}" / f"{name}-{mark}"
    done = folder / "complete"
    if not done.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder)]
        subprocess.run([*pip, "--requirement", str(pins)], check=True)
        done.touch()
    return folder


def main() -> int:
    """Run the tests of the packages that are named; the rest of the line goes to pytest."""
    parser = argparse.ArgumentParser(prog="python -m tests.potentials", description=__doc__)
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    known, further = parser.parse_known_args()
    failed = 0
    for name in known.names:
        path = os.pathsep.join([str(environment(name)), str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
        test = [sys.executable, "-m", "pytest", str(HERE / f"test_{name}.py"), *further]
        variables = {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep), "JETSYM_POTENTIAL": name}
        failed |= subprocess.run(test, env=variables, cwd=HERE.parent.parent, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
