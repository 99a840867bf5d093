"""A caching proxy for Debian's packages: `python mirror.py ADDRESS PORT CACHE NETWORK-FD PREFIX=URI...`.

The only way out of the lab: it listens on the lab's bridge and answers requests below the given prefixes, no others.
What it does not have it fetches with apt's own downloader, in the machine's network (an open file of that namespace),
so apt's configuration (mirror, proxy, certificates) is used and nothing is written down here. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlsplit

APT_HELPER = "/usr/lib/apt/apt-helper"
FETCH_S = 120.0
FRESH_S = 6 * 3600.0  # what can change: lists, not packages
LASTING = (".deb", ".udeb", ".dsc")


class Shelf:
    """The files that were fetched."""

    def __init__(self, place: Path, network_fd: int, sources: dict[str, str]) -> None:
        self._place = place
        self._network_fd = network_fd
        self._sources = sources
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def upstream(self, address: str) -> str:
        """Where the file comes from; "" for an address that is of no source."""
        for prefix, uri in self._sources.items():
            if address.startswith(prefix) and ".." not in address:
                return uri + address.removeprefix(prefix)
        return ""

    def file(self, address: str) -> Path | None:
        """The file of an address, fetched when it is not here or old; None when it can't be had."""
        kept = self._place / quote(address, safe="")
        with self._locks[address]:
            if kept.exists() and (_is_lasting(address) or time.time() - kept.stat().st_mtime < FRESH_S):
                return kept
            return kept if self._fetch(self.upstream(address), kept) or kept.exists() else None

    def _fetch(self, uri: str, to: Path) -> bool:
        scratch = Path(tempfile.mkdtemp(dir=self._place, prefix="fetch-"))
        try:
            argv = ["nsenter", f"--net=/proc/self/fd/{self._network_fd}", APT_HELPER, "download-file", uri]
            ran = subprocess.run(
                [*argv, str(scratch / "file")],
                capture_output=True,
                timeout=FETCH_S,
                check=False,
                stdin=subprocess.DEVNULL,
                pass_fds=[self._network_fd],
            )
            if ran.returncode != 0:
                sys.stderr.write(f"{uri}: {ran.stderr.decode(errors='replace').strip()}\n")
                return False
            os.utime(scratch / "file")
            (scratch / "file").rename(to)
            return True
        except (OSError, subprocess.TimeoutExpired) as e:
            sys.stderr.write(f"{uri}: {e}\n")
            return False
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _is_lasting(address: str) -> bool:
    return address.endswith(LASTING) or "/by-hash/" in address


class Handler(BaseHTTPRequestHandler):
    """One connection of a host's apt."""

    protocol_version = "HTTP/1.1"
    shelf: Shelf

    def do_GET(self) -> None:
        """A file, 403 for what is of no source, 404 for what can't be had."""
        address = self.path if urlsplit(self.path).scheme == "http" else ""
        if not self.shelf.upstream(address):
            self._refuse(403, "only Debian's packages")
            return
        found = self.shelf.file(address)
        if found is None:
            self._refuse(404, "can't be had")
            return
        with found.open("rb") as body:
            self.send_response(200)
            self.send_header("Content-Length", str(os.fstat(body.fileno()).st_size))
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            if self.command != "HEAD":
                shutil.copyfileobj(body, self.wfile)

    do_HEAD = do_GET

    def do_CONNECT(self) -> None:
        """No tunnel leads out of the lab."""
        self._refuse(403, "no tunnels")

    def _refuse(self, code: int, why: str) -> None:
        body = (why + "\n").encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(argv: list[str]) -> None:
    """Serve until killed."""
    address, port, cache, network_fd, *sources = argv
    place = Path(cache)
    place.mkdir(parents=True, exist_ok=True)
    pairs = dict(source.split("=", 1) for source in sources)
    Handler.shelf = Shelf(place, int(network_fd), pairs)
    server = ThreadingHTTPServer((address, int(port)), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
