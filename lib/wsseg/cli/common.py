"""What several commands share: where they print, options, facts in JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from wsseg.images.limits import DEFAULT_MAX_SCAN_GB, MAX_SCAN_GB
from wsseg.images.limits import max_scan_gb as limit

MaxScanGb = Annotated[
    float | None,
    typer.Option(help=f"Largest scan in GiB at 4 bytes a voxel; ${MAX_SCAN_GB}, or {DEFAULT_MAX_SCAN_GB:g}."),
]
"""How large a scan may be before it is refused unread."""

INTERRUPTED = 130
"""Exit code of what somebody ended by Ctrl-C."""

errors = Console(stderr=True)
printed = Console(width=None if sys.stdout.isatty() else 160)


def allow(max_scan_gb: float | None) -> None:
    """Raise the limit for this process and for those that it starts."""
    if max_scan_gb is not None:
        os.environ[MAX_SCAN_GB] = str(max_scan_gb)
        limit()


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write facts as JSON, whole or not at all."""
    from wsseg.files import whole_file

    with whole_file(path) as part:
        part.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
