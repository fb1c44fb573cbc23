"""How bodies of requests are checked: no field of another name or type."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """What a request holds, in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
