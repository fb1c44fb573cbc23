"""Every route of the server's own description, asked with values that nobody thought of: a sentence, never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from live import SERVE, Server, running, write_scan

Json = dict[str, Any]

TEXTS = (
    *("", " ", "NaN", "-1", "1e999", "9" * 25, "0.5", "true", "null", "2147483648", "-2147483649", "{}", "[1]"),
    *("\0", "a\0b", "ä" * 150, "x" * 5000, "..", "../../etc", "'\"<b>", "a\r\nb: c", "\U0001f600", "\u202e", "%00"),
)
"""In addresses and in fields of forms."""

BYTES = (b"\xff\xfe", b"\xed\xa0\x80")
"""In addresses; no UTF-8."""

VALUES = (
    *("null", "true", "-1", "1e308", "1" + "0" * 30, '""', '"' + "x" * 5000 + '"', "[]", "{}", "[null]", '{"a": {}}'),
    *('"\\u0000"', "NaN", "Infinity", "-1e999", '"\\ud800"', "9" * 5000, "[" * 5000, '{"a":' * 3000),
)
"""In JSON; some are none."""

BODIES = (b"", b"\xff", b"{", b"[]", b"null", b"1", b'"x"')

FILES = (
    b"",
    b"..",
    b"a\0.nii.gz",
    b"x" * 300 + b".nii.gz",
    b"x.nrrd",
    b"x.png",
    b"x.zip",
    b"\xff.nii.gz",
    b"/etc/passwd",
)
"""Names of files in forms."""

OPTIONS = ("device", "presence", "text", "label_tag", "result_extension", "save_label", "label_info", "images", "steps")
"""What viewers send in objects of any fields."""

KNOWN = {"model": "small", "scan": "case", "image": "case", "id": "case", "label": "case", "tag": "final"}
"""Right values of what most routes ask for."""

FORM = "multipart/form-data; boundary=edge"


@dataclass
class Asker:
    """Sends requests over one connection, and keeps those that were not answered as they should be."""

    server: Server
    asked: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)

    def send(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> None:
        """One request."""
        try:
            self._connection.request(method, path, body, {"content-type": kind} if body is not None else {})
            reply = self._connection.getresponse()
            status, content = reply.status, reply.read()
        except ConnectionError:  # cut off behind a refusal, before all of the request was sent
            self._connection.close()
            return
        self.asked += 1
        bad = status >= 500 or (status >= 400 and method != "HEAD" and not _is_sentence(content))
        if bad:
            self.wrong.append(f"{status} {method} {path[:120]} {(body or b'')[:120]!r}: {content[:120]!r}")


@dataclass(frozen=True)
class Route:
    """One method of one path, as the description has it."""

    method: str
    path: str
    description: Json
    schemas: Json

    def address(self, **odd: str | bytes) -> str:
        """Path and query with what is required, and with odd values of some parameters."""
        path, query = self.path, []
        for parameter in self.description.get("parameters", []):
            name = parameter["name"]
            value = quote(odd.get(name, KNOWN.get(name, "1")), safe="")
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", value or "%20")
            elif parameter["in"] == "query" and (name in odd or parameter.get("required")):
                query.append(f"{name}={value}")
        return f"{path}?{'&'.join(query)}" if query else path

    def addresses(self) -> Iterator[str]:
        """With every parameter odd in every way."""
        yield self.address()
        for parameter in self.description.get("parameters", []):
            for value in (*TEXTS, *BYTES):
                yield self.address(**{parameter["name"]: value})

    def schema(self, kind: str) -> Json | None:
        """Of the body, None if it has no such one."""
        content = self.description.get("requestBody", {}).get("content", {}).get(kind)
        return self._resolved(content["schema"]) if content else None

    def objects(self, schema: Json) -> Iterator[bytes]:
        """JSON bodies with every field odd in every way."""
        yield from BODIES
        whole = self._sample(schema)
        for name in whole or OPTIONS:
            for value in VALUES:
                yield _object(whole, name, value)
            inner = whole.get(name)
            if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                for key in inner[0]:
                    for value in VALUES:
                        yield _object(whole, name, f"[{_object(inner[0], key, value).decode()}]")

    def forms(self, schema: Json) -> Iterator[bytes]:
        """Multipart bodies with every part odd in every way."""
        yield from (b"", b"no form", b"--edge--\r\n")
        parts = {name: _is_file(part) for name, part in schema.get("properties", {}).items()}
        whole = {name: _part(name, b"{}", b"x.nii.gz" if is_file else None) for name, is_file in parts.items()}
        yield b"".join(whole.values()) + b"--edge--\r\n"
        for name, is_file in parts.items():
            odd = [b"", whole[name] * 2, _part(name, b"text", None if is_file else b"a.txt")]
            if is_file:
                odd += [_part(name, content, file) for file in FILES for content in (b"abc", b"")]
            else:
                odd += [_part(name, text.encode()) for text in (*TEXTS, *VALUES)]
                odd += [_part(name, _object({}, option, value)) for option in OPTIONS for value in VALUES]
            for part in odd:
                yield b"".join({**whole, name: part}.values()) + b"--edge--\r\n"

    def _resolved(self, schema: Json) -> Json:
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        for several in ("allOf", "anyOf", "oneOf"):
            chosen = [one for one in schema.get(several, []) if one.get("type") != "null"]
            if chosen:
                return self._resolved(chosen[0])
        return schema

    def _sample(self, schema: Json) -> Any:
        """Something that fits."""
        found = self._resolved(schema)
        match found.get("type"):
            case "object":
                return {name: self._sample(part) for name, part in found.get("properties", {}).items()}
            case "array":
                return [self._sample(found.get("items", {}))]
            case "integer" | "number":
                return 0
            case "boolean":
                return False
        return "small"


def _is_sentence(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content)["detail"], str)
    except (ValueError, KeyError):
        return False


def _object(whole: Json, name: str, value: str) -> bytes:
    """An object with one field replaced by a text that need not be JSON."""
    others = [f"{json.dumps(key)}: {json.dumps(each)}" for key, each in whole.items() if key != name]
    return ("{" + ", ".join([*others, f"{json.dumps(name)}: {value}"]) + "}").encode()


def _is_file(schema: Json) -> bool:
    return "binary" in json.dumps(schema) or "contentMediaType" in json.dumps(schema)


def _part(name: str, content: bytes, file: bytes | None = None) -> bytes:
    head = f'--edge\r\ncontent-disposition: form-data; name="{name}"'.encode()
    return head + (b'; filename="' + file + b'"' if file is not None else b"") + b"\r\n\r\n" + content + b"\r\n"


@pytest.fixture
def server(published: str, tmp_path: Path) -> Iterator[Server]:
    studies = tmp_path / "studies"
    studies.mkdir()
    write_scan(studies / "case.nii.gz", (24, 20, 6))
    with running((*SERVE, "--studies", str(studies), "--models", published), tmp_path / "log") as server:
        yield server


@pytest.mark.long
def test_no_route_fails_on_odd_values(server: Server) -> None:
    described = server.ask("/openapi.json").json
    routes = [
        Route(method.upper(), path, description, described["components"]["schemas"])
        for path, methods in described["paths"].items()
        for method, description in methods.items()
    ]
    assert len(routes) > 40
    asker = Asker(server)
    for route in sorted(routes, key=lambda route: route.method == "DELETE"):  # which takes the scan away
        json_schema, form_schema = route.schema("application/json"), route.schema("multipart/form-data")
        plain = b"{}" if json_schema is not None else None
        for address in route.addresses():
            asker.send(route.method, address, plain)
        for body in route.objects(json_schema) if json_schema is not None else ():
            asker.send(route.method, route.address(), body)
        for body in route.forms(form_schema) if form_schema is not None else ():
            asker.send(route.method, route.address(), body, FORM)
    assert asker.asked > 3000
    assert asker.wrong == []
    assert "Traceback" not in server.log.read_text("utf-8")
    assert server.ask("/info/").status == 200
