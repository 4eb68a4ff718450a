"""A hub of one's own: as much of the HTTP of the Hugging Face hub as a push and a pull of a model need, in memory.

It keeps what is pushed by commits: small files in the commit itself, large ones by Git's protocol for large files, to
which it refers what is read. Writing needs :data:`TOKEN`, and so does reading what is private.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import yaml

__all__ = ["TOKEN", "Hub", "serving"]

TOKEN = "hf_of_this_test"


class Hub:
    """Repositories by name: commits from old to new, each with the files by name; and large files by digest."""

    def __init__(self) -> None:
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.address = ""

    def commit(self, repo_id: str) -> str:
        """Return the name of the newest commit of a repository."""
        return hashlib.sha1(f"{repo_id} {len(self.repositories[repo_id])}".encode()).hexdigest()

    def files(self, repo_id: str) -> dict[str, bytes]:
        """Return the files of the newest commit."""
        commits = self.repositories[repo_id]
        return commits[-1] if commits else {}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def answer(self, status: int, content: Any = b"", **headers: str) -> None:
        """Send an answer: bytes as they are, other values as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def received(self) -> bytes:
        """Return what was sent with the request, in one piece or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    @property
    def known(self) -> bool:
        """Whether who asks may write."""
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_HEAD(self) -> None:
        """Answer as GET does, without content."""
        self.do_GET()

    def do_GET(self) -> None:
        """Give out files: large ones from where they are kept."""
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        if path.startswith("/large/"):
            return self.answer(200, self.hub.large[path.removeprefix("/large/")])
        if path.startswith("/api/models/"):
            repo_id = path.removeprefix("/api/models/").partition("/revision/")[0]
            known = repo_id in self.hub.repositories
            return self.answer(200 if known else 404, {"id": repo_id, "xetEnabled": False, "siblings": []})
        repo_id, _, rest = path.strip("/").partition("/resolve/")
        if repo_id not in self.hub.repositories or (repo_id in self.hub.private and not self.known):
            return self.answer(404, X_Error_Code="RepoNotFound")
        commit = self.hub.commit(repo_id)
        revision, _, name = rest.partition("/")
        if revision not in ("main", commit):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files = self.hub.files(repo_id)
        if name not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        content, digest = files[name], hashlib.sha256(files[name]).hexdigest()
        said = {"X_Repo_Commit": commit, "ETag": f'"{digest}"'}
        if digest in self.hub.large:
            said |= {"X_Linked_Etag": f'"{digest}"', "X_Linked_Size": str(len(content))}
            elsewhere = self.hub.address.replace("127.0.0.1", "localhost")  # large files are kept on another host
            return self.answer(302, Location=f"{elsewhere}/large/{digest}", **said)
        return self.answer(200, content, **said)

    def do_PUT(self) -> None:
        """Keep a large file, under its digest."""
        content = self.received()
        self.hub.requests.append(f"PUT {self.path}")
        self.hub.large[hashlib.sha256(content).hexdigest()] = content
        self.answer(200)

    def do_POST(self) -> None:
        """Make repositories and commits, and say how files are to be sent."""
        content, path = self.received(), urlsplit(self.path).path
        self.hub.requests.append(f"POST {path}")
        if path == "/api/validate-yaml":
            wrong = faults(json.loads(content)["content"])
            return self.answer(400 if wrong else 200, {"errors": wrong, "warnings": []})
        if not self.known:
            return self.answer(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            return self.create(json.loads(content))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self.answer(200, self.places(json.loads(content)))
        repo_id, _, rest = path.removeprefix("/api/models/").rpartition("/")[0].rpartition("/")
        if rest == "preupload":
            named = [one["path"] for one in json.loads(content)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in named}
            said = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            return self.answer(200, {"files": said})
        return self.take(repo_id, [json.loads(line) for line in content.splitlines()])

    def create(self, wanted: dict[str, Any]) -> None:
        """Make a repository where there is none."""
        repo_id = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        status = 409 if repo_id in self.hub.repositories else 200
        self.hub.repositories.setdefault(repo_id, [])
        if wanted.get("private") or wanted.get("visibility") == "private":
            self.hub.private.add(repo_id)
        self.answer(status, {"url": f"{self.hub.address}/{repo_id}", "name": repo_id, "id": repo_id})

    def places(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Say where large files are to be put."""
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.address}/large/{one['oid']}"}}}
            for one in wanted["objects"]
        ]
        return {"transfer": "basic", "objects": objects}

    def take(self, repo_id: str, lines: list[dict[str, Any]]) -> None:
        """Make a commit of files on top of the last one."""
        files = dict(self.hub.files(repo_id))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        self.hub.repositories[repo_id].append(files)
        commit = self.hub.commit(repo_id)
        self.answer(200, {"commitUrl": f"{self.hub.address}/{repo_id}/commit/{commit}", "commitOid": commit})


def faults(card: str) -> list[dict[str, str]]:
    """Return what is wrong with the head of a card: the form that results of models must have on the hub."""
    if not card.startswith("---\n"):
        return []
    head = yaml.safe_load(card.split("---\n")[1]) or {}
    found = [f"{name} is no text" for name in ("license", "library_name") if not isinstance(head.get(name, ""), str)]
    for model in head.get("model-index", []):
        found += [f"model-index has no {name}" for name in ("name", "results") if not model.get(name)]
        for result in model["results"]:
            needed = {"task": ("type",), "dataset": ("type", "name")}
            found += [f"{part} has no {name}" for part in needed for name in needed[part] if not result[part].get(name)]
            found += [f"a metric is {one}" for one in result["metrics"] if not {"type", "value"} <= set(one)]
    return [{"message": text} for text in found]


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub without repositories on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
