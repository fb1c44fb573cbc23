"""A server that others can reach: its token, its limits, its proxy."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from browser import chromium, visit
from live import SERVE, Server, running, write_scan
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from wsseg.models.shelf import bundled

SECRET = "a-token-of-28-characters-etc"
BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans, one of which is a link to elsewhere."""
    folder = tmp_path_factory.mktemp("studies")
    write_scan(folder / "MEIER_HANS.nii.gz", (40, 44, 10))
    outside = tmp_path_factory.mktemp("outside") / "secret.nii.gz"
    write_scan(outside, (40, 44, 10))
    (folder / "linked.nii.gz").symlink_to(outside)
    return folder


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's folder for temporary files."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(studies: Path, uploads: Path, published: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "token").write_text(f"{SECRET}\n", encoding="utf-8")
    options = ("--token-file", str(folder / "token"), "--behind-proxy", "--max-upload-mb", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(uploads))
        with running((*SERVE, "--studies", str(studies), "--models", published, *options), folder / "log") as server:
            yield server


@pytest.fixture
def get(server: Server) -> requests.Session:
    """One who knows the token."""
    session = requests.Session()
    session.headers.update(BEARER)
    return session


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/info/"),
        ("GET", "/annotate/"),
        ("GET", "/annotate/api/scans?model=small"),
        ("GET", "/ohif/"),
        ("GET", "/static/ohif/index.html"),
        ("GET", "/openapi.json"),
        ("GET", "/nothing"),
        ("GET", "/auth/token/valid"),
        ("GET", "/auth/token/../../info/"),
        ("POST", "/infer/small?image=MEIER_HANS"),
        ("PUT", "/datastore/image?image=new"),
        ("OPTIONS", "/info/"),
        ("GET", "//info/"),
    ],
)
def test_every_route_needs_the_token(server: Server, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer"}, {"Cookie": "wsseg=1.2"}):
        connection.request(method, path, headers=given)
        reply = connection.getresponse()
        assert "token" in reply.read().decode()
        assert reply.status == 401
        assert reply.headers["www-authenticate"] == "Bearer"
    connection.close()


def test_slicer_logs_in_with_the_token_as_password(server: Server, published: str, tmp_path: Path) -> None:
    client = MONAILabelClient(server.url, str(tmp_path), "reader")
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    for wrong in ("wrong", ""):
        with pytest.raises(MONAILabelClientException):
            client.auth_token("anyone", wrong)
    with pytest.raises(MONAILabelClientException) as refusal:
        client.info()
    assert "log in" in str(refusal.value.msg)
    client.update_auth(client.auth_token("anyone", SECRET))
    assert client.auth_valid_token()
    assert list(client.info()["models"]) == [published, "scribbles", "points"]
    file, _ = client.infer(published, "MEIER_HANS", {"result_extension": ".nrrd"})
    assert Path(file).stat().st_size > 0
    assert client.info()["name"] == "wsseg", "a length that the client repeats by mistake holds it up"


def test_browser_logs_in_once_for_the_page_and_ohif(server: Server, tmp_path: Path) -> None:
    with chromium() as browser, visit(browser, f"{server.url}/annotate/?from=link", tmp_path) as made:
        made.page.fill("#token", "wrong")
        made.page.get_by_role("button", name="Log in").click()
        made.page.get_by_text("not this server's token").wait_for()
        assert made.low_contrast() == []
        made.page.fill("#token", SECRET)
        made.page.get_by_role("button", name="Log in").click()
        made.page.wait_for_url(f"{server.url}/annotate/?from=link")
        made.page.get_by_text("MEIER_HANS").first.wait_for()
        [cookie] = made.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
        assert made.page.goto(f"{server.url}/ohif/").status == 200
        assert "OHIF" in made.page.title()
        assert made.errors == []


def test_other_web_pages_cannot_read(server: Server, get: requests.Session) -> None:
    for method in ("GET", "OPTIONS"):
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
        reply = get.request(method, f"{server.url}/info/", headers=asked)
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/infer/small?image=..%2F..%2Fetc%2Fpasswd"),
        ("POST", "/infer/small?image=%2Fetc%2Fpasswd"),
        ("POST", "/infer/small?image=linked"),
        ("POST", "/infer/..%2Fsmall?image=MEIER_HANS"),
        ("GET", "/session/%2e%2e"),
        ("GET", "/session/..%2F..%2Fetc"),
        ("DELETE", "/session/%2e%2e"),
        ("GET", "/datastore/image?image=..%2Fsecret"),
        ("GET", "/datastore/image?image=linked"),
        ("GET", "/datastore/image/info?image=linked"),
        ("DELETE", "/datastore/image?id=linked"),
        ("GET", "/datastore/label?label=MEIER_HANS&tag=..%2F.."),
        ("GET", "/annotate/api/scans/linked?model=small"),
        ("GET", "/annotate/api/scans/..%2Flinked/sprite"),
        ("GET", "/annotate/api/scans/%2e%2e/sprite"),
        ("GET", "/annotate/..%2Fannotate.py"),
        ("GET", "/annotate/%2Fetc%2Fpasswd"),
        ("GET", "/static/..%2F..%2F..%2Fapp.py"),
        ("GET", "/proxy/dicom/qido/%252e%252e/system"),
        ("GET", "/proxy/dicom/qido/studies%252F..%252Fsystem"),
    ],
)
def test_paths_out_of_the_studies_are_refused(server: Server, studies: Path, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request(method, path, headers=BEARER)
    reply = connection.getresponse()
    assert reply.status == 404, reply.read()
    assert re.fullmatch(rb'\{"detail":".+"\}', reply.read())
    connection.close()
    assert (studies / "linked.nii.gz").is_symlink()


def test_links_are_neither_listed_nor_written_through(
    server: Server, get: requests.Session, studies: Path, tmp_path: Path
) -> None:
    assert [row["id"] for row in get.get(f"{server.url}/annotate/api/scans?model=small").json()] == ["MEIER_HANS"]
    secret = (studies / "linked.nii.gz").read_bytes()
    write_scan(tmp_path / "mine.nii.gz", (20, 20, 4))
    with (tmp_path / "mine.nii.gz").open("rb") as file:
        reply = get.put(f"{server.url}/datastore/image?image=linked", files={"file": file})
    assert reply.status_code == 400
    assert "link" in reply.json()["detail"]
    assert (studies / "linked.nii.gz").read_bytes() == secret


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("POST", "/infer/small", "file"),
        ("PUT", "/datastore/image?image=large", "file"),
        ("PUT", "/datastore/label?image=MEIER_HANS", "label"),
        ("PUT", "/session/", "files"),
    ],
)
def test_large_uploads_leave_nothing_behind(
    server: Server, get: requests.Session, uploads: Path, method: str, path: str, field: str, chunked: bool
) -> None:
    before = sorted(uploads.rglob("*"))
    head = f'--edge\r\ncontent-disposition: form-data; name="{field}"; filename="large.nii.gz"\r\n\r\n'.encode()
    pieces = [head, *[b"x" * (1 << 18)] * 8, b"\r\n--edge--\r\n"]
    kind = {"content-type": "multipart/form-data; boundary=edge"}
    body = iter(pieces) if chunked else b"".join(pieces)
    reply = get.request(method, server.url + path, data=body, headers=kind)
    assert reply.status_code == 413
    assert "larger than 1 MB" in reply.json()["detail"]
    assert sorted(uploads.rglob("*")) == before


def test_log_has_a_line_per_request_without_patient_data(server: Server, get: requests.Session) -> None:
    seen = len(_settled(server.log))
    get.post(f"{server.url}/infer/small?image=MEIER_HANS&output=json", headers={"X-Forwarded-For": "10.1.2.3"})
    get.get(f"{server.url}/annotate/api/scans/MEIER_HANS?model=small")
    get.get(f"{server.url}/annotate/style.css")
    get.get(f"{server.url}/info/")
    log = _settled(server.log)
    lines = [line.partition(") - ")[2] for line in log[seen:].splitlines() if "request_log" in line]
    assert sorted(re.sub(r" \d+ ms ", " ", line) for line in lines) == [
        "GET /annotate/* 200 127.0.0.1",
        "GET /annotate/api/scans/{scan} 200 127.0.0.1",
        "GET /info/ 200 127.0.0.1",
        "POST /infer/{model} 200 10.1.2.3",
    ]
    assert "small: a scan in " in log
    assert "MEIER" not in log
    assert SECRET not in log


def _settled(file: Path) -> str:
    """A log once nothing more comes: the line of a refused upload may be later than its reply."""
    before, text = "", file.read_text("utf-8")
    while text != before:
        time.sleep(1)
        before, text = text, file.read_text("utf-8")
    return text


def test_server_that_nobody_guards_does_not_start(tmp_path: Path) -> None:
    command = (*SERVE, "--studies", str(tmp_path), "--host", "0.0.0.0")
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr.startswith("wsseg: --host 0.0.0.0: others could reach every scan")
    assert done.stderr.count("\n") == 1


@dataclass(frozen=True)
class Proxy:
    """An nginx in front of the server.

    Attributes:
        url: over TLS.
        plain: without.
        certificate: that it shows.
    """

    url: str
    plain: str
    certificate: str


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The configuration that ships, with this machine's ports and a certificate of its own."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        reason = "there is no nginx, on Debian: apt-get install nginx-light"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("nginx")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=wsseg -addext subjectAltName=IP:127.0.0.1"
    files = ("-keyout", "key.pem", "-out", "fullchain.pem")
    subprocess.run((*make.split(), *files), cwd=folder, check=True, capture_output=True)
    plain, tls = free_port(), free_port()
    site = (bundled("apps/wsseg") / "deploy" / "nginx.conf").read_text("utf-8")
    changes = {
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
        "127.0.0.1:8000;": f"127.0.0.1:{server.port};",
        "/etc/ssl/wsseg": str(folder),
        "/var/log/nginx": str(folder),
        "client_max_body_size 2048m": "client_max_body_size 3m",
    }
    for old, new in changes.items():
        assert old in site
        site = site.replace(old, new)
    (folder / "site.conf").write_text(site, encoding="utf-8")
    kept = folder / "temporary"
    kept.mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {kept}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    told = f"{user} daemon off; pid {folder}/pid; events {{}} http {{ {temporary} include {folder}/site.conf; }}"
    (folder / "nginx.conf").write_text(told, encoding="utf-8")
    process = subprocess.Popen((program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors")))
    try:
        wait_for(tls)
        yield Proxy(f"https://127.0.0.1:{tls}", f"http://127.0.0.1:{plain}", str(folder / "fullchain.pem"))
    finally:
        process.terminate()
        process.wait()
    assert [path for path in kept.rglob("*") if path.is_file()] == [], "nginx keeps scans in files"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail("nginx does not answer")


def test_behind_nginx(proxy: Proxy, server: Server, studies: Path) -> None:
    """TLS, log-in, pages, uploads and their limits."""
    with requests.Session() as session:
        session.trust_env = False  # which may name other certificates
        session.verify = proxy.certificate
        moved = session.get(f"{proxy.plain}/annotate/", allow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (301, "https://127.0.0.1/annotate/")
        page = session.get(f"{proxy.url}/ohif/", headers={"Accept": "text/html"})
        assert page.url == f"{proxy.url}/login?next=%2Fohif%2F"
        session.post(f"{proxy.url}/login", data={"token": SECRET, "next": "/ohif/"})
        [cookie] = session.cookies
        assert cookie.secure
        for path in ("/info/", "/ohif/", "/annotate/", "/annotate/api/scans?model=small"):
            assert session.get(proxy.url + path).status_code == 200
        bare = session.get(f"{proxy.url}/annotate", allow_redirects=False)
        assert bare.headers["location"] in ("/annotate/", f"{proxy.url}/annotate/")
        with (studies / "MEIER_HANS.nii.gz").open("rb") as file:
            mask = session.post(f"{proxy.url}/infer/small?output=image", files={"file": file})
        assert mask.content[:2] == b"\x1f\x8b"
        for megabytes in (2, 4):  # refused by the server, and by nginx
            large = session.post(f"{proxy.url}/infer/small", files={"file": b"x" * (megabytes << 20)})
            assert large.status_code == 413
            assert "larger" in large.json()["detail"]
        announced = {**BEARER, "content-length": "1000"}
        connection = http.client.HTTPSConnection(
            "127.0.0.1", int(proxy.url.rpartition(":")[2]), context=ssl._create_unverified_context(), timeout=20
        )
        connection.request("GET", "/info/", headers=announced)
        assert connection.getresponse().status == 200
        connection.close()
