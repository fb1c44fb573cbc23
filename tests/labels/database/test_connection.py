"""The database of labels: absent, damaged, written by many at once and killed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from label_stores import HERE, TUMOR, A, drawn, rows, scan
from wsseg.errors import UnavailableError, WssegError
from wsseg.labels.database.store import FILE, LabelStore
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.values import Mark

WRITER = """
import sys
from pathlib import Path
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import Project
from wsseg.labels.space import LabelSpace
from wsseg.labels.database.store import LabelStore
from wsseg.labels.values import Mark
home, case, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store, scan = LabelStore.at(home, Project("one", "file:///one")), ScanIdentity(case, case, (1, 1, 99999))
for index in range(first, first + count):
    print(index, store.mark(scan, [Mark("tumor", index, index % 2)], LabelSpace(("tumor",)), case), flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    store = LabelStore.at(tmp_path, HERE)
    yield store
    store.close()


def writer(home: Path, case: str, first: int, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(home), case, str(first), str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


class TestDatabase:
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("nonsense", "^labels: Could not parse"),
            ("nosuch://host/labels", "labels in nosuch://host/labels"),
            ("sqlite:////no/such/folder/labels.sqlite3", "unable to open database file"),
        ],
    )
    def test_no_database_there(self, url: str, reason: str) -> None:
        with pytest.raises(WssegError, match=reason) as caught:
            LabelStore(url, HERE)
        assert "\n" not in str(caught.value)

    def test_a_password_is_not_repeated(self) -> None:
        with pytest.raises(WssegError) as caught:
            LabelStore("nosuch://me:secret@host/labels", HERE)
        assert "secret" not in str(caught.value)

    def test_a_database_that_has_gone(self, store: LabelStore, tmp_path: Path) -> None:
        store.describe(A, "one", "me")
        with sqlite3.connect(tmp_path / FILE) as connection:
            connection.execute("DROP TABLE labels")
        with pytest.raises(UnavailableError, match="no such table") as caught:
            store.read(A, TUMOR)
        assert caught.value.status == 503

    def test_a_damaged_file(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b"not a database, " * 100)
        with pytest.raises(WssegError, match="file is not a database"):
            LabelStore.at(tmp_path, HERE)

    def test_a_later_format(self, store: LabelStore, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / FILE) as connection:
            connection.execute("UPDATE store SET format = 7")
        with pytest.raises(WssegError, match="are of format 7, this version of wsseg knows 2"):
            LabelStore.at(tmp_path, HERE)

    def test_as_durable_as_promised(self, store: LabelStore, tmp_path: Path) -> None:
        store.describe(A, "one", "me")
        with store._database.writing() as connection:
            asked = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "foreign_keys")]
            assert asked == [2, 1]
        assert rows(tmp_path, "PRAGMA journal_mode") == [("wal",)]


class TestConcurrency:
    def test_processes_that_write_at_once_lose_nothing(self, tmp_path: Path) -> None:
        writers = [writer(tmp_path, case, 0, 60) for case in ("a", "b", "c")]  # the first to come makes the file
        serials: list[int] = []
        for process in writers:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            serials += [int(line.split()[1]) for line in out.splitlines()]
        assert sorted(serials) == list(range(1, 181))
        store = LabelStore.at(tmp_path, HERE)
        assert store.revision() == 180
        for case in ("a", "b", "c"):
            assert store.read(ScanIdentity(case, case, (1, 1, 60)), TUMOR).presence[0].tolist() == [0, 1] * 30
        store.close()

    def test_threads_that_scribble_at_once_lose_nothing(self, store: LabelStore) -> None:
        voxels = [(x, y, index) for x in range(4) for y in range(5) for index in range(3)]

        def scribble(mine: list[tuple[int, int, int]], who: str) -> None:
            for voxel in mine:
                store.scribble(A, drawn((*voxel, 1)), TUMOR, who)

        threads = [threading.Thread(target=scribble, args=(voxels[k::4], f"thread {k}")) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        read = store.read(A, TUMOR).scribbles
        assert read is not None
        assert read.all()
        assert store.revision() == len(voxels)

    def test_a_killed_writer_loses_nothing_that_was_acknowledged(self, tmp_path: Path) -> None:
        moments, acknowledged = random.Random(4), {}
        for _ in range(4):
            process = writer(tmp_path, "a", len(acknowledged), 90_000)
            assert process.stdout is not None
            acknowledged.update(_pair(process.stdout.readline()) for _ in range(moments.randrange(1, 9)))
            time.sleep(moments.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            out, _ = process.communicate(timeout=30)
            acknowledged.update(_pair(line) for line in out.splitlines(keepends=True) if line.endswith("\n"))
        written = rows(tmp_path, "SELECT slice, serial, value FROM labels")
        assert {(index, serial) for index, serial, _ in written} >= set(acknowledged.items())
        assert all(int(state) == index % 2 for index, _, state in written)
        assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
        store = LabelStore.at(tmp_path, HERE)
        assert store.describe(A, "one", "me") > max(acknowledged.values())
        store.close()


def _pair(line: str) -> tuple[int, int]:
    index, serial = line.split()
    return int(index), int(serial)


def test_a_url_of_postgresql_means_psycopg_3() -> None:
    with pytest.raises(WssegError, match=r"port 1 failed|psycopg is missing, install wsseg with its extra postgresql"):
        LabelStore("postgresql://me@127.0.0.1:1/labels", HERE)


def test_postgresql() -> None:
    url = os.environ.get("WSSEG_TEST_POSTGRESQL")
    if not url:
        pytest.skip("no PostgreSQL server, set WSSEG_TEST_POSTGRESQL to the URL of an empty database")
    store, other = LabelStore(url, HERE), LabelStore(url, HERE)
    store.mark(A, [Mark("tumor", 0, 1), Mark("tumor", 1, 0)], TUMOR, "me")
    second = other.mark(A, [Mark("tumor", 1, 1), Mark("tumor", 2, 1)], TUMOR, "you")
    store.scribble(A, drawn((0, 0, 0, 1)), TUMOR, "me")
    store.undo(second, "you")
    store.undo(store.describe(A, "one", "me"), "me")

    def scribble(each: LabelStore, x: int) -> None:
        for y in range(5):
            each.scribble(A, drawn((x, y, 1, 255)), TUMOR, "me")

    threads = [threading.Thread(target=scribble, args=(each, x)) for x, each in enumerate((store, other, store))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = LabelStore(url, HERE)
    read = reader.read(A, TUMOR)
    assert read.presence.tolist() == [[1, 0, -1]]
    assert read.text is None
    assert read.scribbles is not None
    assert (read.scribbles[:3, :, 1] == 255).all()
    assert store.fill({scan("b", 2): np.array([[1, 0]], np.int8)}, TUMOR, "me") == store.revision()
    known = {case: (each.labelled, each.scribbles, each.text) for (case, _), each in reader.summaries(TUMOR).items()}
    assert known == {"a": (2, True, False), "b": (2, False, False)}
    assert reader.touched(store.revision()) == ["b"]
    assert reader.classes(A) == ["tumor"]
    for each in (store, other, reader):
        each.close()
