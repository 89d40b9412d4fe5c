"""How systems write texts and numbers: capitals without accents, addresses for mail, mistyped letters and digits.

Belongs here: functions from columns of text to columns of text. Does not belong here: when a mistake happens
(`observing`), what a value means.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.simulation.randomness import Booleans, Integers

#: Rows of fixed-width ASCII text, one byte per column: numbers with their keys.
Digits: TypeAlias = npt.NDArray[np.uint8]

_ZERO = ord("0")
_LIGATURES = (
    ("œ", "oe"),
    ("Œ", "OE"),
    ("æ", "ae"),
    ("Æ", "AE"),
    ("ß", "ss"),
    ("ı", "i"),
    ("ł", "l"),
    ("ø", "o"),
    ("’", "'"),
)
_FIRST_DAY = np.datetime64("1900-01-01", "D")
_LAST_DAY = np.datetime64("2079-12-31", "D")


def text(values: npt.ArrayLike | pa.Array) -> pa.Array:
    """A column of text, from numbers or text."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array if array.type == pa.string() else pc.cast(array, pa.string())


def column(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array, whatever pyarrow made."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def joined(*parts: pa.Array | str, separator: str = "") -> pa.Array:
    """The parts of each row side by side; a null part makes nothing."""
    return pc.binary_join_element_wise(*parts, separator, null_handling="replace", null_replacement="")


def where(condition: Booleans, first: pa.Array | str | None, second: pa.Array | str | None) -> pa.Array:
    """The first text where the condition holds, the second elsewhere."""
    return pc.if_else(pa.array(condition), _scalar(first), _scalar(second))


def _scalar(value: pa.Array | str | None) -> pa.Array | pa.Scalar:
    return value if isinstance(value, pa.Array) else pa.scalar(value, pa.string())


def picked(values: tuple[str, ...] | list[str | None] | pa.Array, index: Integers) -> pa.Array:
    """The value at each index; a negative index gives null."""
    source = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    return source.take(pa.array(index, mask=index < 0))


def _by_value(array: pa.Array, change: object) -> pa.Array:
    """Apply a change once per distinct value."""
    encoded = array.dictionary_encode()
    return change(encoded.dictionary).take(encoded.indices)  # type: ignore[operator]


def unaccented(array: pa.Array) -> pa.Array:
    """Without accents or ligatures, letters otherwise as they were."""

    def change(values: pa.Array) -> pa.Array:
        for written, plain in _LIGATURES:
            values = pc.replace_substring(values, written, plain)
        return pc.replace_substring_regex(pc.utf8_normalize(values, form="NFD"), r"\p{Mn}+", "")

    return _by_value(array, change)


def capitals(array: pa.Array) -> pa.Array:
    """Capitals without accents, as the benefit and employment services write names."""
    return pc.utf8_upper(unaccented(array))


def slug(array: pa.Array) -> pa.Array:
    """Lower-case letters only, as in an e-mail address."""
    return _by_value(unaccented(array), lambda values: pc.replace_substring_regex(pc.utf8_lower(values), "[^a-z]+", ""))


# -- days --------------------------------------------------------------------------------------------------------


class _Calendar:
    """Every day of two centuries written once in each form: dates become a lookup."""

    def __init__(self) -> None:
        self._forms: dict[str, pa.Array] = {}

    def written(self, days: Integers, form: str) -> pa.Array:
        """Days since 1970-01-01 in a strftime form; the smallest integer is an unknown day."""
        if form not in self._forms:
            every = np.arange(_FIRST_DAY, _LAST_DAY + 1)
            self._forms[form] = pa.array([day.strftime(form) for day in every.tolist()], pa.string())
        offset = int(_FIRST_DAY.astype(np.int64))
        known = days > UNKNOWN_DAY
        index = np.where(known, np.clip(days - offset, 0, len(self._forms[form]) - 1), 0)
        return self._forms[form].take(pa.array(index, mask=~known))


#: The day of something that did not happen, or is not known.
UNKNOWN_DAY = int(np.iinfo(np.int32).min)

_CALENDAR = _Calendar()


def day_text(days: Integers, form: str = "%Y-%m-%d") -> pa.Array:
    """Days since 1970-01-01 as text, null where unknown."""
    return _CALENDAR.written(days, form)


def parts_of_day(days: Integers) -> tuple[Integers, Integers, Integers]:
    """Year, month and day of the month."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    years = dates.astype("datetime64[Y]")
    return (
        years.astype(np.int64) + 1970,
        (months - years.astype("datetime64[M]")).astype(np.int64) + 1,
        (dates - months.astype("datetime64[D]")).astype(np.int64) + 1,
    )


def days_of(years: Integers, months: Integers, days: Integers) -> Integers:
    """Days since 1970-01-01; a day beyond the end of its month becomes the last one."""
    month = ((years - 1970) * 12 + months - 1).astype("datetime64[M]")
    last = ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)
    day: Integers = month.astype("datetime64[D]").astype(np.int64) + np.minimum(days, last) - 1
    return day


# -- numbers -----------------------------------------------------------------------------------------------------


def digits(values: Integers, width: int) -> Digits:
    """Each number as `width` digits, zeros before."""
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return (values[:, None] // powers % 10 + _ZERO).astype(np.uint8)


def digits_text(rows: Digits, present: Booleans | None = None) -> pa.Array:
    """Rows of digits as text, null where not present."""
    width = rows.shape[1]
    flat = np.ascontiguousarray(rows)
    offsets = np.arange(0, (len(flat) + 1) * width, width, dtype=np.int32)
    validity = None
    nulls = 0
    if present is not None:
        nulls = int(len(flat) - np.count_nonzero(present))
        validity = pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    return pa.Array.from_buffers(
        pa.string(), len(flat), [validity, pa.py_buffer(offsets.tobytes()), pa.py_buffer(flat.tobytes())], nulls
    )


def characters(values: pa.Array, width: int) -> Digits:
    """Texts of `width` ASCII characters each as rows of bytes."""
    return np.frombuffer("".join(values.to_pylist()).encode("ascii"), dtype=np.uint8).reshape(-1, width)


def mistyped_number(rows: Digits, position: Integers, shift: Integers) -> Digits:
    """One digit read as another (shift 1 to 9), or two neighbours swapped (shift 0)."""
    result = rows.copy()
    line = np.arange(len(rows))
    position = position % (rows.shape[1] - 1)
    old = rows[line, position]
    follower = rows[line, position + 1]
    is_digit = (old >= _ZERO) & (old <= _ZERO + 9)
    swapped = (shift == 0) & (old != follower)
    changed = ~swapped & is_digit
    replaced = ((old.astype(np.int64) - _ZERO + np.maximum(shift, 1)) % 10 + _ZERO).astype(np.uint8)
    result[line, position] = np.where(swapped, follower, np.where(changed, replaced, old))
    result[line[swapped], position[swapped] + 1] = old[swapped]
    return result


# -- letters -----------------------------------------------------------------------------------------------------

_NEIGHBOUR = {"a": "z", "e": "r", "i": "o", "o": "p", "n": "b", "s": "d", "r": "t", "t": "r", "l": "k", "m": "n",
              "u": "y", "d": "f", "c": "v", "b": "v", "g": "h", "p": "o", "h": "j", "k": "l", "v": "b", "y": "u",
              "z": "e", "f": "g", "j": "h", "q": "a", "w": "x", "x": "c"}  # fmt: skip


def mistyped_words(values: pa.Array, position: Integers, kind: Integers) -> pa.Array:
    """A letter dropped, doubled, swapped with the next or replaced by its neighbour on the keyboard (kind 0 to 3).

    Called on the few mistaken rows of a column only: the loop is over them, not over persons.
    """
    written = []
    for word, place, how in zip(values.to_pylist(), position.tolist(), kind.tolist(), strict=True):
        if word is None or len(word) < 3:
            written.append(word)
            continue
        at = 1 + place % (len(word) - 2)
        if how == 0:
            written.append(word[:at] + word[at + 1 :])
        elif how == 1:
            written.append(word[:at] + word[at] + word[at:])
        elif how == 2 and word[at] != word[at + 1]:
            written.append(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
        else:
            neighbour = _NEIGHBOUR.get(word[at].lower(), "e")
            written.append(word[:at] + (neighbour.upper() if word[at].isupper() else neighbour) + word[at + 1 :])
    return pa.array(written, pa.string())


def replaced(values: pa.Array, rows: Booleans, substitutes: pa.Array) -> pa.Array:
    """`values` with the marked rows replaced by the substitutes, in order."""
    return pc.replace_with_mask(values, pa.array(rows), substitutes)
