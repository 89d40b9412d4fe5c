"""Bytes of a text file to UTF-8 blocks that end at line ends.

Belongs here: telling the encoding, refusing a mixture with its line, one newline character, limits on a line. Does not
belong here: what a line means (`delimited`, `fluxiae`).

UTF-8 (with or without a mark), UTF-16, and windows-1252 (which holds every printable character of latin-1) are read.
A file is UTF-8 when all of it is; it is windows-1252 when nothing in it is UTF-8; anything between is a mixture.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.extracts import refusal

Encoding = Literal["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "cp1252"]

_CHUNK = 8 << 20
#: The mark where one file was appended to another: at the beginning of a line it belongs to no cell.
_MARKED_LINE = b"\n" + codecs.BOM_UTF8
_NEWLINE, _RETURN = 10, 13
#: Leading bytes of the UTF-8 letters of French and of its punctuation. Other leading bytes followed by a continuation
#: byte are plausible windows-1252 (« É» » is C9 BB), these are not (« Ã© »).
_TELLING_PAIRS = (0xC2, 0xC3, 0xC5)
_SAME_IN_LATIN_1 = bytes([*range(0x80), *range(0xA0, 0x100)])


def encoding_of(path: Path, *, file: str = "") -> Encoding:
    """The encoding of a whole text file. Raises `UnreadableDelivery` for a mixture, or for what is not text."""
    with path.open("rb") as stream:
        head = stream.read(1 << 12)
    if head.startswith(b"\xff\xfe"):
        return "utf-16-le"
    if head.startswith(b"\xfe\xff"):
        return "utf-16-be"
    if head.startswith(codecs.BOM_UTF8):
        encoding: Encoding = "utf-8-sig"
    else:
        unmarked = _utf16_without_mark(head)
        if unmarked is not None:
            return unmarked
        encoding = "utf-8"
    if _is_utf8(path):
        return encoding
    if encoding == "utf-8-sig" or _has_utf8_letters(path):
        raise _mixed(path, file)
    return "cp1252"


def blocks(path: Path, encoding: Encoding, limits: Limits, *, file: str = "") -> Iterator[bytes]:
    """The file as UTF-8 blocks of whole lines, every line ended by one `\\n` (the last one too).

    Raises `UnreadableDelivery` for a byte that the encoding does not know, a NUL, or a line above the limit.
    """
    line = 1  # the physical line on which `rest` begins
    rest, line_bytes = b"", limits.line_bytes
    for text in _utf8(path, encoding, limits.block_bytes, file):
        block = rest + text
        if b"\0" in text:
            raise refusal(
                "encoding-error",
                "Le fichier contient des caractères nuls : ce n'est pas un fichier texte, ou il est abîmé.",
                remedy="Exportez de nouveau au format CSV.",
                file=file,
                line=line + block[: block.index(b"\0")].count(b"\n"),
            )
        cut = block.rfind(b"\n") + 1
        whole, rest = block[:cut], block[cut:]
        if whole:
            whole = _without_marks(whole)
            _check_lines(whole, line, line_bytes, file)
            line += count_of(_NEWLINE, whole)
            yield whole
        if len(rest) > line_bytes:
            raise _long_line(line, line_bytes, file)
    if rest:
        yield _without_marks(rest + b"\n")


def _without_marks(lines: bytes) -> bytes:
    lines = lines.removeprefix(codecs.BOM_UTF8)
    if not lines.isascii() and _MARKED_LINE in lines:
        return lines.replace(_MARKED_LINE, b"\n")
    return lines


def _utf8(path: Path, encoding: Encoding, block_bytes: int, file: str) -> Iterator[bytes]:
    """UTF-8 chunks with `\\n` for every kind of line end."""
    is_utf16 = encoding.startswith("utf-16")
    decoder = codecs.getincrementaldecoder(encoding)() if is_utf16 else None
    held = b""
    line = 1
    with path.open("rb") as stream:
        if encoding == "utf-8-sig":
            stream.seek(len(codecs.BOM_UTF8))
        elif is_utf16:
            stream.seek(2 if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else 0)
        while True:
            raw = stream.read(block_bytes)
            if encoding.startswith("utf-8"):
                chunk = raw
            else:
                try:
                    chunk = _from_cp1252(raw) if decoder is None else decoder.decode(raw, final=not raw).encode()
                except (UnicodeDecodeError, UnicodeEncodeError) as error:
                    where = line + _lines_before(error, encoding)
                    raise refusal(
                        "encoding-error",
                        "Un caractère ne se lit pas dans l'encodage du fichier.",
                        expected="UTF-8, UTF-16 ou windows-1252, le même d'un bout à l'autre",
                        remedy="Enregistrez le fichier en « CSV UTF-8 ».",
                        file=file,
                        line=where,
                    ) from None
            chunk = held + chunk
            if raw and chunk.endswith(b"\r"):
                chunk, held = chunk[:-1], b"\r"
            else:
                held = b""
            if b"\r" in chunk:
                chunk = _with_newlines(chunk)
            if not encoding.startswith("utf-8"):
                line += count_of(_NEWLINE, chunk)
            if chunk:
                yield chunk
            if not raw:
                return


def count_of(byte: int, chunk: bytes) -> int:
    """How often the byte stands in the chunk: five times faster than `bytes.count` where it stands often (measured)."""
    return int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == byte))


def _with_newlines(chunk: bytes) -> bytes:
    data = np.frombuffer(chunk, np.uint8)
    returns = np.flatnonzero(data == _RETURN)
    if returns[-1] + 1 < len(data) and (data[returns + 1] == _NEWLINE).all():
        return chunk.translate(None, delete=b"\r")
    return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _from_cp1252(raw: bytes) -> bytes:
    """Windows-1252 as UTF-8, ten times faster than by its codec: as latin-1, then what differs, letter by letter.

    Raises `UnicodeDecodeError` for the five bytes that mean nothing.
    """
    if raw.isascii():
        return raw
    encoded = raw.decode("latin-1").encode()
    for byte in sorted(set(raw.translate(None, delete=_SAME_IN_LATIN_1))):
        letter = bytes([byte])
        try:
            encoded = encoded.replace(letter.decode("latin-1").encode(), letter.decode("cp1252").encode())
        except UnicodeDecodeError:
            raise UnicodeDecodeError("cp1252", raw, raw.index(letter), raw.index(letter) + 1, "no letter") from None
    return encoded


def _lines_before(error: UnicodeDecodeError | UnicodeEncodeError, encoding: Encoding) -> int:
    before = error.object[: error.start]
    text = before if isinstance(before, str) else bytes(before).decode(encoding, errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").count("\n")


def _check_lines(block: bytes, first_line: int, line_bytes: int, file: str) -> None:
    half = max(line_bytes // 2, 1)  # a line above the limit leaves at least one half of it without an end
    if all(block.find(b"\n", start, start + half) >= 0 for start in range(0, len(block) - half, half)):
        return
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
    lengths = np.diff(ends, prepend=-1) - 1
    if int(lengths.max()) > line_bytes:
        raise _long_line(first_line + int(lengths.argmax()), line_bytes, file)


def _long_line(line: int, line_bytes: int, file: str) -> Exception:
    return refusal(
        "limit-exceeded",
        "Une ligne dépasse la longueur permise.",
        expected=f"au plus {line_bytes // 1024} Ko par ligne",
        remedy="Vérifiez l'export : les fins de ligne manquent peut-être.",
        file=file,
        line=line,
    )


def _utf16_without_mark(head: bytes) -> Encoding | None:
    """UTF-16 without a mark: every other byte of its beginning is almost always NUL."""
    if len(head) < 4:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > 0.6 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.6 * half and odd < 0.1 * half:
        return "utf-16-be"
    return None


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                is_inside_letter = bool(decoder.getstate()[0])
                if is_inside_letter or not chunk.isascii():
                    decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _has_utf8_letters(path: Path) -> bool:
    last = b""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            if _holds_utf8_letter(last + chunk):
                return True
            last = chunk[-1:]
    return False


def _holds_utf8_letter(chunk: bytes) -> bool:
    """Whether somewhere a byte begins a telling UTF-8 letter, and the next one goes on with it."""
    data = np.frombuffer(chunk, np.uint8)
    begins = np.flatnonzero(data[:-1] >= _TELLING_PAIRS[0])
    begins = begins[np.isin(data[begins], _TELLING_PAIRS)]
    return bool(((data[begins + 1] & 0xC0) == 0x80).any())


def _mixed(path: Path, file: str) -> Exception:
    """The refusal of a mixture, with the first line that contradicts the greater part of the file."""
    utf8_lines: list[int] = []
    other_lines: list[int] = []
    for number, line in enumerate(_physical_lines(path), start=1):
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            utf8_lines.append(number)
        except UnicodeDecodeError:
            other_lines.append(number)
    minority = other_lines if len(other_lines) <= len(utf8_lines) or not utf8_lines else utf8_lines
    return refusal(
        "encoding-error",
        "Le fichier mélange deux encodages : cette ligne ne se lit pas comme les autres.",
        expected="UTF-8, UTF-16 ou windows-1252, le même d'un bout à l'autre",
        remedy="Enregistrez tout le fichier en « CSV UTF-8 », sans coller de lignes d'un autre export.",
        file=file,
        line=minority[0] if minority else None,
    )


def _physical_lines(path: Path) -> Iterator[bytes]:
    rest = b""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            lines = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            rest = lines.pop()
            yield from lines
            if len(rest) > _CHUNK:  # no line at all: the limit on lines will say so
                return
    yield rest
