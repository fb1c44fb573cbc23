"""Files are there whole or not at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from volumes import VOLUMES, noise
from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.images.formats.table import write_mask
from wsseg.images.volume import Volume


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A folder that takes no file; no such thing is to be had for root but the kernel's own."""
    if os.geteuid() == 0:
        return Path("/sys")
    (tmp_path / "read-only").mkdir(mode=0o555)
    return tmp_path / "read-only"


class TestWholeFile:
    def test_the_old_file_stands_until_the_new_one_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "file.txt"
        path.write_text("old", encoding="utf-8")
        with whole_file(path) as part:
            part.write_text("new", encoding="utf-8")
            assert path.read_text("utf-8") == "old"
            assert part.parent == path.parent
        assert path.read_text("utf-8") == "new"
        assert path.stat().st_mode & 0o777 == 0o644
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (OSError(28, "No space left on device"), "No space left on device"),
            (OSError("file is truncated"), "file is truncated"),
            (RuntimeError("ITK:\nwrite failed"), "write failed"),
            (RuntimeError(), ""),
        ],
    )
    def test_failure_is_one_sentence_and_leaves_the_old_file(
        self, tmp_path: Path, error: Exception, reason: str
    ) -> None:
        path = tmp_path / "file.txt"
        path.write_text("old", encoding="utf-8")

        def write() -> None:
            with whole_file(path) as part:
                part.write_text("half", encoding="utf-8")
                raise error

        with pytest.raises(WssegError) as caught:
            write()
        assert str(caught.value) == f"{path}: cannot be written ({reason})"
        assert path.read_text("utf-8") == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_other_errors_pass_and_leave_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "file.txt"):
            raise KeyboardInterrupt
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("extension", VOLUMES)
    def test_read_only_folder(self, read_only: Path, extension: str) -> None:
        before = sorted(read_only.iterdir())
        with pytest.raises(WssegError, match=r"mask\S+: cannot be written \(.+\)$"):
            write_mask(read_only / f"mask{extension}", Volume(noise((2, 2, 2)), np.eye(4)))
        assert sorted(read_only.iterdir()) == before

    @pytest.mark.parametrize("extension", VOLUMES)
    def test_no_such_folder_and_a_folder_in_the_way(self, tmp_path: Path, extension: str) -> None:
        mask = Volume(noise((2, 2, 2)), np.eye(4))
        with pytest.raises(WssegError, match="No such file or directory"):
            write_mask(tmp_path / "nowhere" / f"mask{extension}", mask)
        (tmp_path / f"mask{extension}").mkdir()
        with pytest.raises(WssegError, match="Is a directory"):
            write_mask(tmp_path / f"mask{extension}", mask)
        assert list(tmp_path.iterdir()) == [tmp_path / f"mask{extension}"]

    def test_full_disk(self, tmp_path: Path) -> None:
        # A limit on file size stops a write as a full disk does: at once, half-way, at the last byte.
        script = """
import sys
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit
import numpy as np
from wsseg.errors import WssegError
from wsseg.images.formats.table import write_mask
from wsseg.images.formats.nifti import NIFTI
from wsseg.images.formats.nrrd import NRRD
from wsseg.images.volume import Volume
for edge in (3, 16, 64):
    mask = Volume(np.random.default_rng(0).integers(0, 255, (edge, edge, edge)), np.eye(4))
    for extension in (*NIFTI, *NRRD):
        path = Path(sys.argv[1]) / f"mask{extension}"
        write_mask(path, mask)
        size = path.stat().st_size
        path.unlink()
        for limit in (0, size // 2, size - 1):
            setrlimit(RLIMIT_FSIZE, (limit, RLIM_INFINITY))
            try:
                write_mask(path, mask)
            except WssegError as error:
                print(error)
            else:
                print(f"{path} was written as {path.stat().st_size} of {size} bytes")
            finally:
                setrlimit(RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))
"""
        done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        messages = done.stdout.splitlines()
        assert len(messages) == 3 * 3 * len(VOLUMES), done.stdout
        for message in messages:
            assert re.fullmatch(rf"{tmp_path}/mask[.a-z]+: cannot be written \(.+\)", message), message
        assert not list(tmp_path.iterdir())
