"""Who may ask the server, and what it gives."""

import http.client
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from benchmark.review.server import LONGEST, serving
from schemas.errors import ServerError
from tasks import ledger
from tests.benchmark.review.conftest import Open, Serve
from tests.conftest import Built

KEEP = {"verdict": "keep"}


@pytest.fixture
def address(opened: Open, served: Serve) -> str:
    return served(opened())


def client(address: str, **headers: str) -> httpx.Client:
    """As the page asks: with the token, and its origin."""
    url = urlsplit(address)
    own = {"Authorization": f"Bearer {url.fragment}", "Origin": f"http://{url.netloc}"}
    return httpx.Client(base_url=f"http://{url.netloc}", headers=own | headers, trust_env=False)


def picture(address: str) -> str:
    with client(address) as asking:
        return str(asking.get("/items/0").json()["pictures"]["input"])


def test_the_page_gets_its_session_items_and_pictures_and_its_verdicts_are_written(address: str, copied: Built) -> None:
    with client(address) as page:
        assert "OmniRefiner review" in page.get("/").text
        about = page.get("/session").json()
        assert (about["reviewer"], about["kind"], about["items"]) == ("anna", "sample", [None] * 4)
        item = page.get("/items/0").json()
        assert set(item["pictures"]) == {"reference", "input", "target"}
        assert item["words"]["restore"]
        assert (item["mine"], item["others"]) == (None, {})
        for digest in item["pictures"].values():
            got = page.get(f"/pictures/{digest}")
            assert (got.status_code, got.headers["Content-Type"]) == (200, "image/webp")
            assert got.content == copied.lake.artifact(digest, "webp").read_bytes()
        assert page.post("/items/0/verdict", json=KEEP).json()["mine"]["verdict"] == "keep"
        assert page.get("/session").json()["items"][0]["verdict"] == "keep"
    assert len(ledger.files(copied.lake, "reviews")) == 1


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "Basic x"])
def test_nothing_is_told_without_the_token(address: str, token: str, copied: Built) -> None:
    digest = picture(address)
    with client(address, Authorization=token) as stranger:
        for path in (
            "/session",
            "/items/0",
            f"/pictures/{digest}",
            "/nowhere",
            f"/?token={urlsplit(address).fragment}",
        ):
            got = stranger.get(path)
            assert (got.status_code, set(got.json())) == (403, {"error"})
        assert stranger.post("/items/0/verdict", json=KEEP).status_code == 403
    assert ledger.files(copied.lake, "reviews") == []


def test_the_page_itself_tells_nothing_of_the_lake(address: str, copied: Built) -> None:
    with client(address, Authorization="") as stranger:
        told = "".join(stranger.get(path).text for path in ("/", "/page.js", "/page.css"))
    assert "anna" not in told
    assert urlsplit(address).fragment not in told
    assert picture(address) not in told


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::1]", "0"]
)
def test_another_sites_name_for_this_machine_is_refused(address: str, host: str) -> None:
    with client(address, Host=host) as rebound:
        for path in ("/", "/page.js", "/session", "/items/0"):
            assert rebound.get(path).status_code == 403
        assert rebound.post("/items/0/verdict", json=KEEP, headers={"Origin": f"http://{host}"}).status_code == 403


def test_this_machines_names_and_a_tunnels_port_are_taken(address: str) -> None:
    for host in ("localhost", "localhost:9000", "127.0.0.1:9000"):
        with client(address, Host=host, Origin=f"http://{host}") as page:
            assert page.get("/session").status_code == 200
            assert page.post("/items/0/verdict", json=KEEP).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1", "https://127.0.0.1"])
def test_a_verdict_of_another_page_is_refused(address: str, origin: str, copied: Built) -> None:
    with client(address, Origin=origin) as other:
        assert other.post("/items/0/verdict", json=KEEP).status_code == 403
    assert ledger.files(copied.lake, "reviews") == []


def test_nothing_else_of_the_disk_is_served(address: str, opened: Open, copied: Built) -> None:
    shown = {row[f"{name}_sha256"] for row in opened().drawn.rows for name in ("target", "reference", "input")}
    other = next(path.stem for path in copied.lake.root.glob("artifacts/*/*.webp") if path.stem not in shown)
    mask = opened().drawn.rows[0]["mask_sha256"]
    digest = picture(address)
    url = urlsplit(address)
    for path in (
        f"/pictures/{other}", f"/pictures/{mask}", f"/pictures/{digest.upper()}", f"/pictures/{digest}.webp",
        f"/pictures/../{digest}", "/pictures/../../../../../../etc/passwd", "/pictures/%2e%2e%2fetc%2fpasswd",
        "/../server.py", "//etc/passwd", "/server.py", "/page.html", "/items/4", "/items/-1", "/items/00000000",
        "/items/0/verdict", "/catalog.duckdb",
    ):  # fmt: skip
        connection = http.client.HTTPConnection(url.netloc)  # sends a path as it stands
        connection.putrequest("GET", path)
        connection.putheader("Authorization", f"Bearer {url.fragment}")
        connection.endheaders()
        assert connection.getresponse().status == 404, path
        connection.close()


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/session", "/items/0", "/nowhere"])
def test_every_answer_is_kept_by_nobody_and_runs_nothing_of_others(address: str, path: str) -> None:
    with client(address) as page:
        headers = page.get(path).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b'{"verdict": "maybe"}', b'{"verdict": "drop"}', b"[" * 4000, b"\xff",
     b'{"verdict": "keep", "note": "' + b"x" * LONGEST + b'"}'],
)  # fmt: skip
def test_what_is_no_verdict_is_told(address: str, body: bytes, copied: Built) -> None:
    with client(address) as page:
        got = page.post("/items/0/verdict", content=body)
        assert (got.status_code, set(got.json())) == (400, {"error"})
        assert page.post("/items/99/verdict", json=KEEP).status_code == 404
        assert page.request("PUT", "/items/0/verdict", json=KEEP).status_code == 501
    assert ledger.files(copied.lake, "reviews") == []


def test_a_disk_that_does_not_take_it_is_told(address: str, copied: Built) -> None:
    (copied.lake.root / "ledger" / "reviews").write_text("in the way")
    with client(address) as page:
        got = page.post("/items/0/verdict", json=KEEP)
        assert got.status_code == 500
        assert "mend that" in got.json()["error"]
        assert page.get("/session").json()["items"][0] is None


def test_a_picture_that_is_missing_is_told(address: str, copied: Built) -> None:
    digest = picture(address)
    copied.lake.artifact(digest, "webp").unlink()
    with client(address) as page:
        got = page.get(f"/pictures/{digest}")
    assert got.status_code == 500
    assert "it is missing" in got.json()["error"]


def test_it_listens_on_the_loopback_alone(address: str) -> None:
    port = urlsplit(address).port
    listening = [line.split()[1] for table in ("tcp", "tcp6") if (path := Path("/proc/net") / table).exists()
                 for line in path.read_text().splitlines()[1:] if line.split()[3] == "0A"]  # fmt: skip
    mine = [where for where in listening if int(where.rpartition(":")[2], 16) == port]
    assert mine == [f"0100007F:{port:04X}"] or not Path("/proc/net/tcp").exists()


def test_a_port_that_is_taken_is_told(opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} cannot be had"), serving(opened(), port):
            pass


def test_each_session_has_a_token_of_its_own(opened: Open, served: Serve) -> None:
    one, other = served(opened("anna")), served(opened("ben"))
    with client(other, Authorization=f"Bearer {urlsplit(one).fragment}") as stranger:
        assert stranger.get("/session").status_code == 403


def test_half_a_request_does_not_hold_up_others(address: str) -> None:
    url = urlsplit(address)
    with socket.create_connection((url.hostname, url.port)) as slow:
        slow.sendall(b"POST /items/0/verdict HTTP/1.1\r\nHost: localhost\r\nContent-Le")
        with client(address) as page:
            assert page.get("/session").status_code == 200


def test_what_follows_a_verdict_on_its_connection_is_no_request(address: str, copied: Built) -> None:
    """A page of another site can post text: nothing in it is taken for a request of its own."""
    url = urlsplit(address)
    inner = json.dumps(KEEP)
    smuggled = (
        f"POST /items/0/verdict HTTP/1.1\r\nHost: {url.netloc}\r\nOrigin: http://{url.netloc}\r\n"
        f"Authorization: Bearer {url.fragment}\r\nContent-Length: {len(inner)}\r\n\r\n{inner}"
    )
    outer = (
        f"POST / HTTP/1.1\r\nHost: {url.netloc}\r\nOrigin: http://evil.example\r\n"
        f"Content-Length: {len(smuggled)}\r\n\r\n"
    )
    with socket.create_connection((url.hostname, url.port), timeout=5) as connection:
        connection.sendall((outer + smuggled).encode())
        got = b"".join(iter(lambda: connection.recv(65536), b""))
    assert got.startswith(b"HTTP/1.1 403")
    assert got.count(b"HTTP/1.1") == 1
    assert ledger.files(copied.lake, "reviews") == []
