"""What mkdocs calls as it builds the pages: pages that are made are added, figures drawn, and links checked."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from builder import commands, drawn, links, reference  # noqa: E402  (this folder is no package of the path before)

NOTEBOOKS = sorted(HERE.parent.glob("*.ipynb"))

#: Sections of the navigation that are made, by what stands for them in mkdocs.yml.
MADE = {
    "notebooks/": lambda: [path.name for path in NOTEBOOKS],
    "commands/": lambda: list(commands.pages()),
    "reference/": lambda: list(reference.pages()),
}


def on_config(config: Any) -> Any:
    """Put what is made into the navigation."""
    config.nav = [
        {
            title: MADE[entry]() if isinstance(entry, str) and entry in MADE else entry
            for title, entry in section.items()
        }
        for section in config.nav
    ]
    return config


@event_priority(100)  # before the notebooks are recognised
def on_files(files: Files, config: Any) -> Files:
    """Add the notebooks, the pages that are made, and the figures."""
    for uri, text in (commands.pages() | reference.pages()).items():
        files.append(File.generated(config, uri, content=text))
    for uri, content in drawn.figures().items():
        files.append(File.generated(config, uri, content=content))
    copies = Path(config.site_dir).parent / "notebooks"  # where those that run leave what they write
    copies.mkdir(parents=True, exist_ok=True)
    for path in NOTEBOOKS:
        shutil.copy(path, copies)
        files.append(File(path.name, str(copies), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the table of failure modes, and let links to notebooks beside the pages lead to the pages of these."""
    markdown = markdown.replace("<!-- modes -->", reference.modes())
    return re.sub(r"\]\(\.\./(\d\d_\w+\.ipynb)", r"](\1", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Leave out what notebooks fetch from outside, and write the roles of docstrings as links."""
    html = re.sub(r"""<script[^>]*\bsrc="https?://[^>]*>\s*</script>""", "", html)
    html = re.sub(
        r"""<script type="module">(?:(?!</script>).)*?https?://(?:(?!</script>).)*</script>""", "", html, flags=re.S
    )
    role = r":[a-z]+:<code>~?([\w.]+)</code>"
    return re.sub(role, r'<autoref identifier="\1" optional><code>\1</code></autoref>', html)


def on_post_build(config: Any) -> None:
    """Refuse pages with links that lead nowhere, or that need the network."""
    found = links.broken(Path(config.site_dir))
    if found:
        raise PluginError("\n".join(["the pages are not whole:", *found[:40]]))
