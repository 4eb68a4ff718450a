"""What the built pages refer to: that it is there, and that nothing of it is fetched from outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Page", "broken"]

#: What a browser fetches by itself, by tag: the attribute that names it.
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "link": "href",
}

#: Links of pages, and not of what is shown with them.
MERELY_NAMED = frozenset({"canonical", "next", "prev", "alternate"})

#: Places that the theme links to and makes itself.
SKIPPED = frozenset({"__skip"})


class Page(HTMLParser):
    """The anchors, the links and the fetched files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)
        self.fetched += re.findall(r"""(?:import\s+[^;'"]*?from|import\()\s*['"](https?://[^'"]+)""", text)
        self.fetched += re.findall(r"""@import\s+(?:url\()?['"]?(https?://[^'")]+)""", text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(FETCHED.get(tag, "")) and given.get("rel") not in MERELY_NAMED:
            self.fetched.append(given[FETCHED[tag]])


def broken(site: Path) -> list[str]:
    """Return a sentence for every link of a built site that leads nowhere, and for all that comes from outside."""
    site = site.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        found += [f"{where}: {one} is fetched from outside" for one in page.fetched if urlsplit(one).netloc]
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or where.name == "404.html":
                continue
            target = target_of(path, unquote(parts.path), site)
            if not target.is_file():
                found.append(f"{where}: {link} leads nowhere")
            elif target in pages and unquote(parts.fragment) not in {"", *pages[target].anchors} | SKIPPED:
                found.append(f"{where}: {link} names no place of {target.relative_to(site)}")
    return found


def target_of(page: Path, path: str, site: Path) -> Path:
    """Return the file that a link of a page leads to."""
    target = page if not path else (site / path.lstrip("/") if path.startswith("/") else page.parent / path).resolve()
    return target / "index.html" if target.is_dir() else target
