"""The reviewer's path: pairs of records that the machine leaves to a person.

Belongs here: the pages of whoever decides. Does not belong here: the queue and its rules (`identity`).
"""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
