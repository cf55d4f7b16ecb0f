"""The page's server: on this machine's loopback alone, for whoever has the token, of one session and nothing else."""

from __future__ import annotations

import hmac
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmark.review.session import Session
from schemas.errors import LakeError, ServerError
from tasks.codecs import read_artifact
from tasks.report import LOOK

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
NAMES = (LOOPBACK, "localhost")  # by which a browser may call it: another name is another site's, pointed here
LONGEST = 4096  # bytes of a verdict
PATIENCE = 30  # seconds for a request to arrive

# The page itself tells nothing, so it needs no token: the token stands behind the '#', which browsers send to nobody.
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@contextmanager
def serving(session: Session, port: int = 0) -> Iterator[str]:
    """Serve a session for as long as the block runs, which is given the page's address, its token included.

    Raises ServerError where the port is taken.
    """
    token = secrets.token_urlsafe(24)
    try:
        server = ThreadingHTTPServer((LOOPBACK, port), partial(Handler, session, token))
    except (OSError, OverflowError) as error:
        raise ServerError(f"review: port {port} cannot be had ({error}); give another, or none: --port 0") from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/#{token}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    server_version = "omnirefiner"
    sys_version = ""
    timeout = PATIENCE

    def __init__(self, session: Session, token: str, *connection: Any) -> None:
        self._session = session
        self._token = token
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answer with the page, the session, an item, or a picture."""
        if not self._is_called_by_name():
            self._refuse("this address is not one of this machine's")
        elif self.path in PAGE:
            self._send_page(*PAGE[self.path])
        elif not self._has_token():
            self._refuse("the token is missing or wrong; open the address that `omnirefiner review` prints")
        elif self.path == "/session":
            self._send_json(self._session.about())
        elif (number := self._number(r"/items/(\d{1,7})")) is not None:
            with self._told():
                self._send_json(self._session.item(number))
        elif found := re.fullmatch(r"/pictures/([0-9a-f]{64})", self.path):
            self._send_picture(found[1])
        else:
            self._not_found()

    def do_POST(self) -> None:
        """Take a verdict on an item."""
        self.close_connection = True  # whatever of the body is left unread is no request
        if not self._is_called_by_name():
            self._refuse("this address is not one of this machine's")
        elif self.headers.get("Origin") != f"http://{self.headers['Host']}":
            self._refuse("a verdict comes from the page itself")
        elif not self._has_token():
            self._refuse("the token is missing or wrong; open the address that `omnirefiner review` prints")
        elif (number := self._number(r"/items/(\d{1,7})/verdict")) is None:
            self._not_found()
        else:
            with self._told():
                self._send_json(self._session.judge(number, self._body()))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests."""

    def _is_called_by_name(self) -> bool:
        """Say whether the browser calls this machine, and no site whose name was pointed at it (DNS rebinding)."""
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and hosts[0].partition(":")[0] in NAMES

    def _has_token(self) -> bool:
        given = self.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode())

    def _number(self, pattern: str) -> int | None:
        """Return the number of the item that the path names, if it names one that was drawn."""
        found = re.fullmatch(pattern, self.path, re.ASCII)
        number = int(found[1]) if found else -1
        return number if 0 <= number < len(self._session.drawn.rows) else None

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,4}", length, re.ASCII) or int(length) > LONGEST:
            raise ValueError(f"a verdict has up to {LONGEST} bytes, and says how many")
        said = json.loads(self.rfile.read(int(length)))
        if not isinstance(said, dict):
            raise ValueError("a verdict is a JSON object")
        return said

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Answer with what went wrong."""
        try:
            yield
        except LakeError as error:
            self._send_json({"error": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)
        except (ValueError, RecursionError) as error:  # pydantic's as well
            self._send_json({"error": " ".join(str(error).split())[:400]}, HTTPStatus.BAD_REQUEST)

    def _refuse(self, why: str) -> None:
        self._send_json({"error": why}, HTTPStatus.FORBIDDEN)

    def _not_found(self) -> None:
        self._send_json({"error": "there is no such thing here"}, HTTPStatus.NOT_FOUND)

    def _send_page(self, name: str, kind: str) -> None:
        look = LOOK.read_bytes() if name == "page.css" else b""
        self._send(look + (HERE / name).read_bytes(), f"{kind}; charset=utf-8")

    def _send_json(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(value, default=float).encode(), "application/json", status)

    def _send_picture(self, digest: str) -> None:
        if digest not in self._session.pictures:
            self._not_found()
            return
        with self._told():
            self._send(read_artifact(self._session.lake, digest, "webp"), "image/webp")

    def _send(self, data: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        with suppress(ConnectionError, TimeoutError):  # a browser that has gone on wants it no more
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **HEADERS}.items():
                self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)
