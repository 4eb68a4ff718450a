"""The progress bar in a notebook, as its kernel shows it, and in a file, where there is none."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

CELL = """
import time
from jetsym.progress import progress_bar
with progress_bar("epoch 1/3", 4, shown={shown}) as advance:
    for _ in range(4):
        time.sleep(0.25)
        advance(1)
"""


@pytest.fixture(scope="module")
def messages():
    """Run the cell in a kernel, and return what it says of displays, with the outputs that are left in the end."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    seen = []

    class Client(nbclient.NotebookClient):
        def process_message(self, msg, cell, cell_index):
            if msg["header"]["msg_type"] in ("display_data", "update_display_data"):
                seen.append(msg["content"]["data"]["text/plain"])
            return super().process_message(msg, cell, cell_index)

    cells = [nbformat.v4.new_code_cell(CELL.format(shown=shown)) for shown in (True, False)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    Client(notebook, timeout=120, kernel_name="python3").execute()
    return seen, [cell.outputs for cell in notebook.cells]


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_shows_how_far_it_is(messages):
    seen, (outputs, _) = messages
    assert len(seen) >= 4
    assert all(text.startswith("epoch 1/3") for text in seen[:-1])
    counts = [int(re.search(r"(\d)/4", text)[1]) for text in seen[:-1]]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] >= 3
    assert seen[-1] == ""
    assert [output["data"]["text/plain"] for output in outputs] == [""]  # one line, and no warning of rich


def test_a_bar_that_is_not_asked_for_is_not_there(messages):
    assert messages[1][1] == []


def test_a_file_holds_no_bar():
    done = subprocess.run([sys.executable, "-c", CELL.format(shown=True)], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
