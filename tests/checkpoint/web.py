"""A server on this machine that stands for the web: files, ranges, and the hub's interface."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "c" * 40


class Web:
    """What the server has and what it was asked.

    Attributes:
        files: path -> content.
        repositories: OWNER/NAME -> file -> content.
        asked: (method, path, range) of each request.
        cut: how many bytes of a file are sent before the line breaks, once; None: all.
        uploads: what was pushed: OWNER/NAME -> file -> content.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.cut: int | None = None
        self.uploads: dict[str, dict[str, bytes]] = {}


@contextmanager
def serve() -> Iterator[Web]:
    """Run the server for the time of a test."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args) -> None:
            pass

        def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            web.asked.append((self.command, path, self.headers.get("Range")))
            hub = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/([\w.-]+)", path)
            if hub:
                self.send_hub_file(hub[1], hub[3])
            elif path in web.files:
                self.send_file(web.files[path])
            else:
                self.answer(404)

        do_HEAD = do_GET

        def send_hub_file(self, repository: str, name: str) -> None:
            files = web.repositories.get(repository)
            if files is None:
                self.answer(404, X_Error_Code="RepoNotFound")
            elif name not in files:
                self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
            else:
                tag = hashlib.sha256(files[name]).hexdigest()
                self.send_file(files[name], ETag=f'"{tag}"', X_Repo_Commit=COMMIT)

        def send_file(self, content: bytes, **headers: str) -> None:
            start = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range") or "")
            if start is None:
                first, status = 0, 200
            else:
                first, status = int(start[1]), 206
                if first >= len(content):
                    self.answer(416)
                    return
                headers["Content_Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            rest = content[first:]
            if web.cut is None or self.command == "HEAD":
                self.answer(status, rest, **headers)
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: web.cut])
            web.cut = None
            self.close_connection = True

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            path = self.path.split("?")[0]
            web.asked.append((self.command, path, None))
            if path == "/api/repos/create":
                body = json.loads(content)
                name = "/".join(filter(None, [body.get("organization"), body["name"]]))
                web.uploads.setdefault(name, {})
                self.answer(200, json.dumps({"url": f"{web.address}/{name}"}).encode())
            elif path == "/api/validate-yaml":
                self.answer(200, b'{"errors": [], "warnings": []}')
            elif "/preupload/" in path:
                files = json.loads(content)["files"]
                answer = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in files
                ]
                self.answer(200, json.dumps({"files": answer}).encode())
            elif "/commit/" in path:
                name = re.search(r"/api/models/([\w.-]+/[\w.-]+)/commit", path)[1]
                self.keep(name, content)
                url = f"{web.address}/{name}/commit/{COMMIT}"
                answer = {"commitUrl": url, "commitOid": COMMIT, "success": True}
                self.answer(200, json.dumps(answer).encode())
            else:
                self.answer(404)

        def keep(self, name: str, content: bytes) -> None:
            import base64

            for line in content.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    data = base64.b64decode(value["content"])
                    web.uploads.setdefault(name, {})[value["path"]] = data

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()


def write(path: Path, content: bytes) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
