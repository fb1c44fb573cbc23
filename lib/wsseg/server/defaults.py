"""Defaults of ``wsseg serve``, which the command line shows before anything of the server is imported."""

from __future__ import annotations

DEFAULT_MAX_UPLOAD_MB = 2048
"""A CT of the whole body, 512 x 512 x 2000 voxels of 16 bits, is 1 GB; a mask on its grid may come with it."""

HEALTH = "/health"
"""Needs no token, and says nothing that one would keep."""
