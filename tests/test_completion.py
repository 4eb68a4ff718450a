"""What bash completes of a command line of jetsym, asked of bash itself."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from jetsym.cli import COMMANDS, main

pytest.importorskip("shtab")
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script of completion, and a folder with files to complete."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["completion", "bash"]) == 0
    folder = tmp_path_factory.mktemp("shell")
    (folder / "jetsym.bash").write_text(out.getvalue())
    for name in ("train.root", "test.root"):
        (folder / name).touch()
    return folder / "jetsym.bash"


def completed(script, *words: str) -> list[str]:
    """Ask bash what stands for the last word."""
    ask = f"""
source {script}
function=$(complete -p jetsym | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=(jetsym {" ".join(f"'{word}'" for word in words)})
COMP_CWORD={len(words)}
$function
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, cwd=script.parent)
    return [word.strip() for word in done.stdout.splitlines() if word.strip()]


@pytest.mark.parametrize(
    ("words", "among"),
    [
        (("tr",), {"train"}),
        (("",), {*COMMANDS}),
        (("atoms", "fine"), {"finetune"}),
        (("train", "--le"), {"--learning_rate"}),
        (("train", "--lr", "1", "--batch"), {"--batch_size"}),
        (("train", "--augmentation.g"), {"--augmentation.group"}),
        (("train", "--precision", "b"), {"bf16-mixed"}),
        (("train", "--preset", "pointnet-r"), {"pointnet-rotated"}),
        (("train", "--logger", ""), {"csv", "tensorboard", "wandb", "mlflow"}),
        (("train", "--data", "tr"), {"train.root"}),
        (("evaluate", "run", "--multi"), {"--multi_class"}),
        (("evaluate", "run", "te"), {"test.root"}),
        (("probe", "--wea"), {"--weaver"}),
        (("download", "jetc"), {"jetclass"}),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_bash_completes(script, words, among):
    found = completed(script, *words)
    assert among <= {*found}
    assert all(word.startswith(words[-1]) for word in found)


def test_nothing_is_made_up(script):
    assert completed(script, "train", "--nosuch") == []
    assert completed(script, "train", "--precision", "q") == []
