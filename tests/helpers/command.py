"""The command line in tests: in this process, or as a shell starts it, which imports for seconds."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout

import pytest

from wsseg.cli import main

Done = subprocess.CompletedProcess[str]

SILENT = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""What Python says nothing of, unless it is told to."""


def process(*arguments: object) -> Done:
    """The program as a shell starts it."""
    command = [sys.executable, "-m", "wsseg", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)


def wsseg(*arguments: object, check: bool = True) -> Done:
    """The program in this process, its warnings among its errors as there."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as told:
        patch.setattr(sys, "argv", ["wsseg", *map(str, arguments)])
        for kind in SILENT:
            warnings.simplefilter("ignore", kind)
        with redirect_stdout(out), redirect_stderr(errors), pytest.raises(SystemExit) as end:
            main()
    said = errors.getvalue() + "".join(f"{warning.message}\n" for warning in told)
    assert not check or end.value.code == 0, said
    return subprocess.CompletedProcess(sys.argv, int(end.value.code or 0), out.getvalue(), said)
