"""jetsym on the oldest and on the newest packages that it allows: ``python -m tests.versions lowest`` and ``newest``.

An environment of its own is made of the wheel, away from this checkout: of the lowest version that ``pyproject.toml``
allows of every package that it names but torch, which stays that of the environment from which this is run; or of the
newest of all. Then all rooms are imported, the quick demo is run and its tagger probed, and the fast tests of spectrum,
plotting and jets. ``--python`` names another interpreter, such as ``python3.13``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
#: Optional parts that the tests below exercise, beside what they are run by.
EXTRAS = ("equivariant", "formats", "hub", "jax", "onnx")
RUNNERS = ("pytest", "hypothesis", "array-api-strict", "aiohttp", "e3nn", "requests")
ROOMS = ("jets", "jets.io", "jets.models", "plotting", "remedies", "repair", "spectrum", "testing", "training")
#: Bytes of the wheel, the bundled jets included.
LARGEST = 20_000_000
TESTS = ("tests/spectrum", "tests/plotting", "tests/jets")
#: What other packages say of themselves and of each other, and will one day do without, is no concern of jetsym.
WARNINGS = (
    ":DeprecationWarning",
    "The given NumPy array is not writable:UserWarning",
    "os.fork() was called:RuntimeWarning",
    "Guards may run slower on Python:RuntimeWarning",
)


def requirements() -> list[Requirement]:
    """Return what ``pyproject.toml`` asks for, with the optional parts that are exercised."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (line for name in EXTRAS for line in project["optional-dependencies"][name])
    return [Requirement(line) for line in (*project["dependencies"], *extras)]


def lowest() -> list[str]:
    """Return a pin on the lowest allowed version of every package, and on the torch that is here."""
    bounds = {
        one.name: bound.version for one in requirements() for bound in one.specifier if bound.operator in (">=", "==")
    }
    return [f"{name}=={bound}" for name, bound in sorted((bounds | {"torch": version("torch")}).items())]


def environment(leg: str, python: str) -> Path:
    """Return the programs of a leg's environment, made where it is not there yet; jetsym is installed anew."""
    pins = lowest() if leg == "lowest" else []
    mark = hashlib.sha256("\n".join([*pins, python, *RUNNERS, *map(str, requirements())]).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"jetsym-versions-{os.getuid()}" / f"{leg}-{mark}"
    constraints, done = folder / "constraints.txt", folder / "complete"
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    if not done.exists():
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        constraints.write_text("\n".join(pins) + "\n")
        subprocess.run([*pip, f"{ROOT}[{','.join(EXTRAS)}]", *RUNNERS], check=True)
        done.touch()
    subprocess.run([*pip, "--force-reinstall", "--no-deps", str(wheel(folder, python))], check=True)
    return folder / "bin"


def wheel(folder: Path, python: str) -> Path:
    """Build the wheel into a folder; ValueError where it is too large for a package that is fetched to be tried."""
    place = folder / "wheel"
    shutil.rmtree(place, ignore_errors=True)
    made = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(made, check=True)
    (found,) = place.glob("*.whl")
    if found.stat().st_size > LARGEST:
        raise ValueError(f"{found.name} has {found.stat().st_size / 1e6:.1f} MB; expected at most {LARGEST / 1e6:.0f}")
    return found


def check(programs: Path, further: list[str]) -> None:
    """Import all rooms, run the demo and a probe from the wheel, then the tests; CalledProcessError where one fails."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    python = str(programs / "python")
    listed = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    print(listed, flush=True)
    with tempfile.TemporaryDirectory() as place:
        rooms = ", ".join(f"jetsym.{name}" for name in ROOMS)
        commands = [
            [python, "-c", f"import {rooms}; print(jetsym.__file__)"],
            [str(programs / "jetsym"), "demo", "--quick", "--out", "demo"],
            [str(programs / "jetsym"), "probe", "demo/plain", "--limit", "4", "--l_max", "1", "--out", "report.json"],
        ]
        for command in commands:
            subprocess.run(command, cwd=place, env=variables, check=True)
    warnings = [word for one in WARNINGS for word in ("-W", f"ignore:{one}")]
    pytest = [
        str(programs / "pytest"),
        "-q",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        *warnings,
        *(further or TESTS),
    ]
    subprocess.run(pytest, cwd=ROOT, env=variables, check=True)


def main() -> int:
    """Run one leg; what follows goes to pytest, in place of the tests above."""
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__)
    parser.add_argument("leg", choices=["lowest", "newest"])
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environment")
    known, further = parser.parse_known_args()
    try:
        check(environment(known.leg, known.python), further)
    except subprocess.CalledProcessError as error:
        print(error, file=sys.stderr)
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
