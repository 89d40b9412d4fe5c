"""The form in which titles of columns are compared, whoever wrote them.

Belongs here: that form alone. Does not belong here: which titles a column has (`registry`), setting the titles of a
file against them (`ingestion.headers`).
"""

from __future__ import annotations

import functools
import re
import unicodedata

_NUMBER_SIGN = re.compile(r"\bn\s*[°º]", re.IGNORECASE)
_NOT_WORD = re.compile(r"[^a-z0-9]+")


@functools.lru_cache(maxsize=4096)
def comparable(title: str) -> str:
    """The title without accents, case, punctuation or line breaks; `n°` is `numero`."""
    spelled = _NUMBER_SIGN.sub("numero ", title.replace("\ufeff", ""))
    decomposed = unicodedata.normalize("NFKD", spelled.replace("œ", "oe").replace("Œ", "oe"))
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return _NOT_WORD.sub(" ", plain.casefold()).strip()
