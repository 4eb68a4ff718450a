"""Do the tests notice when the code is changed? ``python -m tests.mutants --seed 0 --count 400 --out FILE``.

Places in the files of a room are drawn with a seed, and at each of them the code is changed by an operator of
cosmic-ray: another number, another sign, a comparison, a condition turned round. Then the tests of that room run, the
fastest first, until one fails. A mutant is killed when one does, or when they take eight times their time. What
survives is listed; what no test can notice, since the program does the same, stands with its reason in
``equivalent.yaml``. Given again, the command goes on; ``--again`` tries once more what survived.

It takes ``python -m pip install cosmic-ray coverage``. One process works at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jetsym.errors import ConfigError
from jetsym.files import check_out, write_json
from jetsym.reading import parse_json, read_text
from tests.mutants.counts import equivalent, summary, told
from tests.mutants.draw import Mutant, draw, places
from tests.mutants.trial import SECONDS, TIMES, Outcome, Session, forked, load, try_anew

ROOT = Path(__file__).parents[2]


def command() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--room", default="jetsym/spectrum", help="the folder whose files are changed")
    parser.add_argument("--seconds", type=float, default=math.inf, help="tests of a mutant, by what they take in all")
    parser.add_argument("--seed", type=int, default=0, help="which mutants are drawn")
    parser.add_argument("--count", type=int, default=400, help="how many")
    parser.add_argument("--out", type=Path, help="JSON file that keeps what was found, and from which it goes on")
    parser.add_argument("--again", action="store_true", help="try once more what survived")
    parser.add_argument(
        "pytest", nargs="*", default=["tests/spectrum", "jetsym/spectrum"], help="after --: which tests"
    )
    return parser


def main() -> int:
    """Draw mutants, try them out, and print how many survived; the status is 1 where any did unexplained."""
    asked = command().parse_args()
    os.chdir(ROOT)
    files = sorted((ROOT / asked.room).rglob("*.py"))
    population = list(places(ROOT, files))
    mutants = draw(ROOT, population, seed=asked.seed, count=asked.count)
    found = {
        "command": f"python -m tests.mutants --room {asked.room} --seed {asked.seed} --count {asked.count}",
        "tests": asked.pytest,
        "seconds of tests": asked.seconds,
        "versions": {name: version(name) for name in ("cosmic-ray", "coverage", "pytest", "numpy")}
        | {"python": sys.version.split()[0]},
        "sources": hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest(),
        "places": len({(place.file, place.line, place.column) for place in population}),
        "changes": len(population),
        "results": {},
    }
    if asked.out is not None:
        check_out(asked.out)
        found["results"] = _before(asked.out, found, again=asked.again)
    todo = [mutant for mutant in mutants if mutant.name not in found["results"]]
    if todo:
        _try_all(todo, found, asked)
    found["summary"] = summary(found["results"], equivalent())
    _keep(asked.out, found)
    print(told(found["summary"]))
    return int(found["summary"]["survived"] > 0)


def _before(out: Path, now: dict[str, Any], *, again: bool) -> dict[str, Any]:
    """Return the results that a file holds of the same mutants, without those that are tried again."""
    if not out.exists():
        return {}
    before = parse_json(read_text(out))
    for name in ("command", "sources"):
        if before[name] != now[name]:
            raise ConfigError(f"{out} was made of other {name}: {before[name]}; expected {now[name]}, or another file")
    results: dict[str, Any] = before["results"]
    return {name: one for name, one in results.items() if not (again and one["how"] == "survived")}


def _try_all(todo: list[Mutant], found: dict[str, Any], asked: argparse.Namespace) -> None:
    """Try mutants out: those within functions where all is loaded, then the others in processes that load anew."""
    room = asked.room.strip("/").replace("/", ".")
    later: list[tuple[Mutant, list[str], float]] = []

    def loop(session: Session) -> None:
        coverage = session.measure(sorted((ROOT / asked.room).rglob("*.py")))
        if coverage.failed or not coverage.seconds:
            raise RuntimeError(f"without any change fail {coverage.failed or 'all tests'}; expected that none does")
        print(f"{len(coverage.seconds)} tests take {sum(coverage.seconds.values()):.0f} s", flush=True)
        for mutant in todo:
            file, line = ROOT / mutant.place.file, mutant.place.line
            tests = coverage.tests_of(file, line, seconds=asked.seconds)
            most = SECONDS + TIMES * sum(coverage.seconds[test] for test in tests)
            inside = coverage.runs(file, line)
            outcome = session.try_out(file, line, mutant.text, tests, seconds=most) if inside else None
            if outcome is None:
                later.append((mutant, tests, most))
            else:
                _note(mutant, outcome, found, asked)

    def within() -> dict[str, Any]:
        status = Session.run(asked.pytest, room, loop)
        loaded = [name for name in sys.modules if name.partition(".")[0] not in ("jetsym", "tests", "__main__")]
        others = [(mutant.name, tests, most) for mutant, tests, most in later]
        return {"status": status, "results": found["results"], "later": others, "loaded": loaded}

    ended, why = forked(within, seconds=24 * 3600, quiet=False)
    if ended is None or ended["status"]:
        raise ConfigError(f"the tests {' '.join(asked.pytest)} do not run: {why or ended['status']}; see above")
    found["results"] = ended["results"]
    load(ended["loaded"])
    of_name = {mutant.name: mutant for mutant in todo}
    for name, tests, most in ended["later"]:
        mutant = of_name[name]
        module = mutant.place.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        outcome = try_anew(module, ROOT / mutant.place.file, mutant.text, tests, seconds=most)
        _note(mutant, outcome, found, asked)


def _note(mutant: Mutant, outcome: Outcome, found: dict[str, Any], asked: argparse.Namespace) -> None:
    found["results"][mutant.name] = {"before": mutant.before, "after": mutant.after, **asdict(outcome)}
    change = f"\n    - {mutant.before}\n    + {mutant.after}" if outcome.how == "survived" else ""
    print(f"{len(found['results'])}/{asked.count} {outcome.how} {mutant.name} {outcome.test}{change}", flush=True)
    _keep(asked.out, found)


def _keep(out: Path | None, found: dict[str, Any]) -> None:
    if out is not None:
        write_json(out, found)


if __name__ == "__main__":
    sys.exit(main())
