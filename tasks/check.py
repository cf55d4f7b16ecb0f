"""What the doctor says of one thing that it looked at."""

from typing import Literal

from pydantic import BaseModel

Verdict = Literal["ok", "note", "bad"]


class Check(BaseModel):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    detail: str
