"""The client that 3D Slicer's MONAI Label module ships."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

CLIENT = Path(sys.prefix) / "monailabel/plugins/slicer/MONAILabel/MONAILabelLib/client.py"


def slicer_client() -> ModuleType:
    """As a module; it belongs to no package."""
    spec = importlib.util.spec_from_file_location("slicer_client", CLIENT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
