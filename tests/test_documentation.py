"""The README and the pages: links lead somewhere, code runs, commands are read, and nothing is left out."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import documented
import matplotlib.pyplot as plt
import pytest
import torch
import yaml

import jetsym
from jetsym.benchmarks.__main__ import BENCHMARKS
from jetsym.cli import COMMANDS, CommandGroup, expand_presets, joined, make_parser, underscored
from jetsym.text import concise, percent

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
DOCS = NOTEBOOKS / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", ROOT / ".github/CONTRIBUTING.md")}
PAGES |= {path.name: path for path in sorted(DOCS.glob("*.md"))}

#: Every address outside that the pages name.
OUTSIDE = {
    "https://arxiv.org/abs/2603.24638",
    "https://github.com/jet-universe/particle_transformer",
    "https://github.com/jet-universe/sophon",
}

#: What begins lines of shell that are no command of jetsym's, and is known to be right.
PROGRAMS = (
    "python -m pip install",
    "python -m pytest",
    "python -m tests.mutants",
    "coverage r",
    "ruff ",
    "mypy",
    "mkdocs build --strict -f notebooks/mkdocs.yml",
)


@pytest.fixture(scope="module")
def builder():
    sys.path.insert(0, str(NOTEBOOKS))
    try:
        for name in ("commands", "drawn", "evidence", "links", "reference"):
            import_module(f"builder.{name}")
        yield sys.modules["builder"]
    finally:
        sys.path.remove(str(NOTEBOOKS))
        for name in [name for name in sys.modules if name.partition(".")[0] == "builder"]:
            del sys.modules[name]


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def blocks(language: str):
    """Yield the blocks of a language, page by page."""
    for name, path in PAGES.items():
        found = re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        yield from (pytest.param(name, block, id=f"{name}-{place}") for place, block in enumerate(found))


def anchors(path: Path) -> set[str]:
    """Return the places in a page that links may name, as mkdocs names them."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", title.encode("ascii", "ignore").decode()).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", plain))
    return found


@pytest.fixture(scope="module")
def made(builder):
    """The pages and figures that are made, by their place."""
    return builder.commands.pages() | builder.reference.pages() | dict.fromkeys(builder.drawn.FIGURES, "")


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(made, name):
    path = PAGES[name]
    links = re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8")))
    for link in links:
        place, _, anchor = link.partition("#")
        if (
            "://" in link
            or (path.parent == DOCS and place in made and not anchor)
            or place == "figures/what_a_and_b_are.png"
        ):
            continue
        target = (path.parent / place).resolve() if place else path
        assert target.is_file(), f"{name}: {link}"
        assert path.parent != DOCS or DOCS in target.parents or target.suffix == ".ipynb", f"{name}: {link}"
        assert not anchor or anchor in anchors(target), f"{name}: {link}"


def test_addresses_outside_are_known():
    found = set()
    for path in PAGES.values():
        addresses = re.findall(r"https?://[\w./%#?=&~+:-]+\w", prose(path.read_text(encoding="utf-8")))
        found |= set(addresses)
    assert found == OUTSIDE


def test_every_page_is_in_the_navigation():
    class Loader(yaml.SafeLoader):
        """Takes the tags of mkdocs for words."""

    Loader.add_multi_constructor("!", lambda loader, tag, node: tag)
    sections = yaml.load((NOTEBOOKS / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]
    listed = [page for section in sections for entry in section.values() if isinstance(entry, list) for page in entry]
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md"))
    assert [entry for section in sections for entry in section.values() if isinstance(entry, str)] == [
        "notebooks/",
        "commands/",
        "reference/",
    ]


@pytest.fixture(scope="module")
def names() -> dict[str, dict]:
    """What the blocks of a page have made, for those behind them."""
    return {}


@pytest.fixture
def reduced(monkeypatch):
    """Let probes be small: few inputs, low irreps, two fresh initialisations."""
    probe = jetsym.probe

    def small(model, inputs=None, *, l_max=1, limit=3, **options):
        options |= {"n_draws": 2} if options.get("baseline") == "untrained" else {}
        sizes = {"l_max": min(l_max, 1), "limit": min(limit, 3), "progress": False}
        return probe(model, inputs, **(options | sizes))

    monkeypatch.setattr(jetsym, "probe", small, raising=False)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "block"), list(blocks("python")))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_code_runs(name, block, names, reduced, tmp_path, monkeypatch):
    for word, test in documented.ELSEWHERE.items():
        if word in block:
            assert f'"{name}"' in (ROOT / test).read_text(encoding="utf-8")
            pytest.skip(f"{test} runs it")
    for needed, module in {"atoms": "ase", "weaver": "weaver"}.items():
        if needed in block:
            pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    known = names.setdefault(name, {"jetsym": jetsym})
    for word, make in documented.NAMES.items():
        known |= make() if word in block else {}
    for word, write in documented.FILES.items():
        if word in block:
            write(tmp_path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    here = {'"/data/': f'"{tmp_path}/data/', '"cuda"': f'"{device}"', "batch_size=512": "batch_size=32"}
    for written, tried in here.items():
        block = block.replace(written, tried)
    exec(block, known)
    for line in block.splitlines():
        if line.endswith("  # True"):
            assert eval(line, known), line  # noqa: S307  (of our own pages)
    for test in re.findall(r"^def (test_\w+)\(\)", block, re.MULTILINE):
        known[test]()
    plt.close("all")


def words_of(line: str) -> list[list[str]]:
    """Return the commands of a line of shell, as lists of words."""
    parts: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word in ("&&", "|"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def parser_of(words: list[str]):
    """Return the parser that reads a command line of jetsym's, its command, and the words behind it."""
    program, table = ("jetsym", COMMANDS) if words[0] == "jetsym" else ("python -m jetsym.benchmarks", BENCHMARKS)
    rest = words[len(program.split()) :]
    entry = table[rest[0]]
    while isinstance(entry, CommandGroup):
        program, rest, table = f"{program} {rest[0]}", rest[1:], entry.commands
        entry = table[rest[0]]
    given = [underscored(word) for word in rest[1:]]
    flags = {word.partition("=")[0] for word in given}
    function = next((own for flag, own in entry.instead.items() if flag in flags), entry.function)
    module, _, name = function.partition(":")
    return make_parser(f"{program} {rest[0]}", entry, getattr(import_module(module), name)), entry, given


@pytest.mark.parametrize(("name", "block"), list(blocks("sh")))
def test_commands_are_read(name, block):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for line in block.replace("\\\n", " ").splitlines():
        for words in words_of(line):
            if words[0] == "torchrun" and "jetsym.cli" in words:
                words = ["jetsym", *words[words.index("jetsym.cli") + 1 :]]
            if words[0] == "sbatch":
                words = ["jetsym", *words[words.index("jetsym.sbatch") + 1 :]]
            text = " ".join(words)
            if words[0] == "jetsym" or words[:3] == ["python", "-m", "jetsym.benchmarks"]:
                parser, entry, given = parser_of(words)
                given = expand_presets(given) if entry.presets else given
                parser.parse_args(joined(given, parser, positional=entry.positional))
            elif words[0] == "python" and words[1].endswith(".py"):
                assert (ROOT / words[1]).is_file(), text
                said = "".join(path.read_text() for path in (ROOT / words[1], (ROOT / words[1]).parent / "common.py"))
                assert all(f'"{word}"' in said for word in words if word.startswith("--")), text
            else:
                assert text.startswith(PROGRAMS), text
                named = re.findall(r"\[([\w,]+)\]", text)
                assert all(extra in extras for group in named for extra in group.split(",")), text


@pytest.mark.parametrize("name", PAGES)
def test_commands_within_sentences_have_the_options_they_name(name):
    for text in re.findall(
        r"`((?:jetsym|python -m jetsym\.benchmarks) [^`]+)`", prose(PAGES[name].read_text(encoding="utf-8"))
    ):
        words = shlex.split(text.replace("\n", " "))
        if words[1:] == ["COMMAND", "--help"] or isinstance(COMMANDS.get(" ".join(words[1:])), CommandGroup):
            continue
        parser, _, given = parser_of(words)
        flags = {flag for action in parser._actions for flag in action.option_strings}
        named = {word.partition("=")[0] for word in given if word.startswith("--")}
        assert named <= flags, text


def test_the_pages_of_commands_have_every_option(builder, made):
    for program, command in builder.commands.commands():
        text = made[builder.commands.place(program)]
        assert f"({builder.commands.place(program).partition('/')[2]})" in made["commands/index.md"]
        for function in (command.function, *command.instead.values()):
            module, _, name = function.partition(":")
            for action in make_parser(program, command, getattr(import_module(module), name))._actions:
                if action.dest not in ("help", "config", "print_config"):
                    title = action.option_strings[0] if action.option_strings else action.dest.upper()
                    assert f"**`{title}`**" in text, f"{program} {title}"


def test_the_reference_has_every_public_name(builder, made):
    rooms = set(dir(jetsym)) - set(jetsym.__all__)
    assert rooms
    for room in ["jetsym", *(f"jetsym.{name}" for name in rooms)]:
        listed = re.findall(r"^::: ([\w.]+)$", made[builder.reference.place(room)], re.MULTILINE)
        public = [name for name in import_module(room).__all__ if not name.startswith("__")]
        assert listed == [f"{room}.{name}" for name in public]


def test_every_failure_mode_is_on_its_page(builder):
    from jetsym.probing.diagnosis import MODES

    assert "<!-- modes -->" in (DOCS / "repair.md").read_text(encoding="utf-8")
    said = builder.reference.modes()
    assert MODES
    assert all(f"**{name}**" in said and mode.why in said and mode.remedy in said for name, mode in MODES.items())


def test_what_leads_nowhere_and_what_comes_from_outside_is_found(builder, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "index.html").write_text('<h2 id="there">x</h2><a href="../">home</a><a href="../#nowhere">y</a>')
    (tmp_path / "index.html").write_text(
        '<a href="a/#there">good</a><a href="b/">missing</a><a href="https://arxiv.org">outside is a link</a>'
        '<link rel="canonical" href="https://example.org/"><img src="gone.png">'
        '<script src="https://cdn.example.org/x.js"></script><script>import m from "https://cdn.example.org/y.js"</script>'
    )
    assert builder.links.broken(tmp_path) == [
        "a/index.html: ../#nowhere names no place of index.html",
        "index.html: https://cdn.example.org/x.js is fetched from outside",
        "index.html: https://cdn.example.org/y.js is fetched from outside",
        "index.html: b/ leads nowhere",
        "index.html: gone.png leads nowhere",
    ]


def test_tables_are_what_was_measured(builder):
    known = set()
    for path in builder.evidence.texts():
        text = path.read_text(encoding="utf-8")
        assert builder.evidence.rewritten(text) == text, f"{path}: python notebooks/builder/evidence.py"
        known |= set(re.findall(r"<!-- table: (\w+) -->", text))
    assert known == set(builder.evidence.TABLES)
    altered = (ROOT / "README.md").read_text(encoding="utf-8").replace("**0.345(82)**", "**0.245(82)**")
    assert builder.evidence.rewritten(altered) != altered


#: Results that name the commit that they were measured at, and those of which the commit that printed them is known.
MEASURED = (
    *("demo", "evaluation", "faults", "least_bias", "memory", "particlenet", "particlenet_costs"),
    *("scaling", "sizes_of_jets", "tensor_basis", "what_a_and_b_are"),
)
PRINTED = (
    *("copper_repaired", "cost_of_a_probe", "cost_of_the_guards", "cost_beside_metatomic", "estimator"),
    *("ethanol_augmented", "gpu", "jets_repaired", "loader"),
)


@pytest.mark.parametrize("name", [*MEASURED, *PRINTED])
def test_what_is_measured_says_by_what(builder, name):
    found = builder.evidence.results(name)
    assert re.fullmatch(r"[0-9a-f]{40}", found["commit" if name in MEASURED else "recorded"])
    assert {"jetsym", *(("torch", "numpy", "python") if name in MEASURED else ())} <= set(found["versions"])
    assert (name in PRINTED) == bool(found.get("remark"))
    assert found["inputs"]
    for words in words_of(found["command"]):
        if words[:1] == ["python"] and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file()
        else:
            assert parser_of(words)


def test_every_table_of_the_pages_has_its_results(builder):
    assert set(builder.evidence.RECORDED) | {"gpu"} == set(PRINTED)
    kept = {path.stem for path in builder.evidence.RESULTS.glob("*.json")}
    assert kept >= {*MEASURED, *PRINTED, "atlas", "sentences"}


def test_networks_of_the_atlas_say_when_they_were_measured(builder):
    found = builder.evidence.results("atlas")
    assert (ROOT / words_of(found["command"])[0][1]).is_file()
    for name, one in found["models"].items():
        assert re.fullmatch(r"[0-9a-f]{40}", one.get("commit") or one["recorded"]), name
        assert {"jetsym", "torch", "numpy"} <= set(one["versions"]), name


def plain(text: str) -> str:
    return " ".join(text.split())


def test_numbers_in_sentences_are_those_that_were_kept(builder):
    costs = builder.evidence.results("particlenet_costs")["report"]
    parity, rest = costs["parity"]["outputs"]["logits"], costs["cost_rest"]["losses"]["logits"]
    time = builder.evidence.results("demo")["processor_seconds"]
    said = {
        f"{time:.0f} s of the processor's time": "index.md",
        f"{concise(-rest['gain'], rest['gain_stderr'])} to the first": "mathematics.md",
        f"{concise(parity['odd'], parity['odd_stderr'])} of odd logits": "mathematics.md",
        f"{percent(parity['share'], parity['share_stderr'])} % of what varies": "mathematics.md",
    }
    for one in builder.evidence.results("sentences")["sentences"]:
        assert re.fullmatch(r"[0-9a-f]{40}", one["recorded"])
        said[one["text"]] = one["page"]
    for text, page in said.items():
        assert text in plain(PAGES[page].read_text(encoding="utf-8")), (page, text)


def test_figures_are_drawn_from_what_was_measured(builder):
    drawn = builder.drawn.figures()
    assert list(drawn) == list(builder.drawn.FIGURES)
    assert all(content.count(b"<path") > 20 for content in drawn.values())
    pages = "".join(path.read_text(encoding="utf-8") for path in PAGES.values())
    assert all(f"]({place})" in pages for place in drawn)


def test_the_readme_is_read_in_five_minutes():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120
    assert len(re.findall(r"!\[", text)) == 1


@pytest.mark.slow
def test_the_figure_of_the_readme_is_that_of_its_script(tmp_path):
    kept = json.loads((NOTEBOOKS / "results" / "what_a_and_b_are.json").read_text(encoding="utf-8"))["report"]
    script = [sys.executable, "-W", "default", NOTEBOOKS / "figures" / "what_a_and_b_are.py", "--out", tmp_path]
    subprocess.run(script, check=True, capture_output=True, timeout=300)
    drawn = json.loads((tmp_path / "what_a_and_b_are.json").read_text(encoding="utf-8"))
    assert drawn["spectrum"]["irreps"] == kept["spectrum"]["irreps"]
    assert drawn["spectrum"]["measured"] == pytest.approx(kept["spectrum"]["measured"], abs=1e-9)
    assert drawn["error"]["A"] == pytest.approx(kept["error"]["A"])
