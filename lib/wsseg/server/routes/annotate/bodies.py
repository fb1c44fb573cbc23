"""How bodies of requests are checked: no field of another name or type, no number or text without end."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from wsseg.labels.values import LONGEST_TEXT

Name = Annotated[str, Field(max_length=200)]
Sentence = Annotated[str, Field(max_length=2 * LONGEST_TEXT)]
"""The store counts it without the spaces around it."""

SliceIndex = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
"""Of what a database can hold; which of them a scan has is said where it is looked at."""
Revision = Annotated[int, Field(ge=0, le=(1 << 31) - 1)]
"""What every database can compare."""


Content = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""Of the scan that whoever asks has opened, as the page is told it; another scan of its name is refused then (409)."""


class Body(BaseModel):
    """What a request holds, in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
