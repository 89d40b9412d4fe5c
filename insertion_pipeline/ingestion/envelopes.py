"""What a delivery is wrapped in, told from its first bytes, never from a name.

Belongs here: telling formats apart, unpacking gzip, zip (nested, encrypted) and tar under limits that are checked
before and while unpacking. Does not belong here: reading what was inside.

Every refusal raises `UnreadableDelivery` with a sentence for the partner; no name found in an archive is repeated.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from insertion_pipeline.ingestion import allowance
from insertion_pipeline.ingestion.extracts import refusal

Kind = Literal["text", "xml", "spreadsheet", "zip", "gzip", "tar"]

_CHUNK = 1 << 20
_HEAD = 1 << 12
_MEBIBYTE = 1 << 20
_DEEPEST_NESTING = 3
_UNPACKING_IS_FASTER = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """What a delivery may measure. The defaults are those of the command line; a portal sets a smaller `file_bytes`.

    `block_bytes`: how much text is read at a time; what a file is worth does not depend on it.
    """

    file_bytes: int = 2 << 30
    unpacked_bytes: int = 8 << 30
    ratio: int = 100
    ratio_from_bytes: int = 10 * _MEBIBYTE
    members: int = 1000
    columns: int = 200
    line_bytes: int = _MEBIBYTE
    block_bytes: int = 8 * _MEBIBYTE


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A file out of its wrapping, ready for a reader. `name` came with it: it tells twin tables apart, never shown."""

    path: Path
    kind: Literal["text", "xml", "spreadsheet"]
    name: str = ""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


_REFUSED_MAGIC = (
    (b"7z\xbc\xaf\x27\x1c", "une archive 7z"),
    (b"Rar!", "une archive RAR"),
    (b"BZh", "une archive bzip2"),
    (b"\xfd7zXZ", "une archive xz"),
    (b"\x28\xb5\x2f\xfd", "une archive zstd"),
    (b"%PDF", "un document PDF"),
    (b"\x89PNG", "une image"),
    (b"\xff\xd8\xff", "une image"),
    (b"{\\rtf", "un document RTF"),
    (b"PAR1", "un fichier Parquet"),
    (b"\x7fELF", "un programme"),
    (b"SQLite format 3", "une base de données"),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05](?:\x95|[cC\]})(XK\x8c\x8e])")
#: What a damaged archive makes the libraries raise. A full disk is an `OSError` that is none of these.
_STRUCTURE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    RuntimeError,
    struct.error,
)
#: The record that ends a zip, the length of it that is fixed, and the longest comment that may follow.
_ENDING, _ENDING_BYTES = b"PK\x05\x06", 22
_LONGEST_ENDING = _ENDING_BYTES + (1 << 16)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def kind_of(path: Path) -> Kind:
    """What the file is, from its first bytes. Raises `UnreadableDelivery` for what no reader takes."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return "spreadsheet" if _is_workbook(path) else "zip"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head[257:262] == b"ustar":
        return "tar"
    if head.startswith(_OLE):
        return _ole_workbook(path)
    for magic, name in _REFUSED_MAGIC:
        if head.startswith(magic):
            raise _unsupported(name)
    if _PICKLE.match(head):
        raise _unsupported("un objet Python sérialisé")
    start = _text_head(head).lstrip().lower()
    if start.startswith(("<!doctype html", "<html")):
        raise _unsupported("une page HTML")
    return "xml" if start.startswith("<") else "text"


def unpack(
    paths: Sequence[Path], folder: Path, *, limits: Limits | None = None, password: str | None = None
) -> Iterator[Unpacked]:
    """The files inside `paths`, unpacked one after the other into `folder` where they were wrapped.

    A file that is not wrapped is given back where it lies. Members come in the order of their archive.
    """
    limits = limits or Limits()
    opener = _Opener(folder, limits, password)
    for path in paths:
        if path.stat().st_size > limits.file_bytes:
            raise refusal(
                "limit-exceeded",
                f"Le fichier dépasse {limits.file_bytes // _MEBIBYTE} Mo.",
                expected=f"au plus {limits.file_bytes // _MEBIBYTE} Mo",
                remedy="Compressez le fichier, ou déposez-le en plusieurs parties.",
            )
        yield from opener.open(path, path.name, depth=0, owned=False)


class _Opener:
    """Unpacks recursively, counting what comes out of all archives of one delivery together."""

    def __init__(self, folder: Path, limits: Limits, password: str | None) -> None:
        self._folder = folder
        self._limits = limits
        self._password = password
        self._serial = 0
        self._members = 0
        self._unpacked = 0

    def open(self, path: Path, name: str, *, depth: int, owned: bool) -> Iterator[Unpacked]:
        kind = kind_of(path)
        if kind in ("text", "xml", "spreadsheet"):
            if kind == "spreadsheet" and _begins(path, b"PK"):
                self._check_workbook(path)
            yield Unpacked(path, kind, name)
            return
        if depth >= _DEEPEST_NESTING:
            raise refusal(
                "unreadable-archive",
                "L'archive en contient d'autres sur plus de trois niveaux.",
                remedy="Déposez les fichiers dans une seule archive.",
            )
        members = {"zip": self._zip, "gzip": self._gzip, "tar": self._tar}[kind](path)
        found = False
        for member, inner in members:
            found = True
            yield from self.open(member, inner or name, depth=depth + 1, owned=True)
        if not found:
            raise refusal("empty-file", "L'archive est vide.", remedy="Vérifiez l'export, puis déposez de nouveau.")
        if owned:
            path.unlink(missing_ok=True)

    # -- the three wrappings ---------------------------------------------------------------------------------------

    def _gzip(self, path: Path) -> Iterator[tuple[Path, str]]:
        with gzip.open(path) as stream:
            yield self._extract(stream, packed=path.stat().st_size), ""

    def _zip(self, path: Path) -> Iterator[tuple[Path, str]]:
        _refuse_what_follows(path)
        with _damage_refused(), _zip_archive(path) as archive:
            entries = [one for one in archive.infolist() if not one.is_dir() and not _is_rubbish(one.filename)]
            self._check_entries(entries, packed=path.stat().st_size)
            for entry in entries:
                yield self._zip_member(archive, entry), entry.filename

    def _zip_member(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Path:
        if entry.flag_bits & 1 and self._password is None:
            raise _locked("L'archive est protégée par un mot de passe.")
        try:
            with archive.open(entry, pwd=self._password.encode() if self._password else None) as stream:
                return self._extract(stream, packed=max(entry.compress_size, 1))
        except NotImplementedError as error:
            raise _broken_archive() from error
        except RuntimeError as error:
            raise _locked("Le mot de passe connu n'ouvre pas l'archive.") from error

    def _check_entries(self, entries: Sequence[zipfile.ZipInfo], *, packed: int) -> None:
        for entry in entries:
            _check_name(entry.filename)
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise _dangerous_member()
        self._count(len(entries))
        self._check_size(sum(entry.file_size for entry in entries), packed)

    def _check_workbook(self, path: Path) -> None:
        """A workbook is a zip too: its parts are measured before any library opens it, by what they really hold."""
        _refuse_what_follows(path)
        with _damage_refused(), zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            self._check_entries(entries, packed=path.stat().st_size)
            for entry in entries:
                with archive.open(entry) as stream:
                    self._drain(stream, packed=path.stat().st_size)

    def _tar(self, path: Path) -> Iterator[tuple[Path, str]]:
        with _damage_refused(), tarfile.open(path, mode="r:") as archive:
            for entry in archive:
                _check_name(entry.name)
                if entry.isdir():
                    continue
                if not entry.isreg():
                    raise _dangerous_member()
                if _is_rubbish(entry.name):
                    continue
                self._count(1)
                self._check_size(entry.size, path.stat().st_size)
                stream = archive.extractfile(entry)
                if stream is not None:
                    yield self._extract(stream, packed=path.stat().st_size), entry.name

    # -- under limits ----------------------------------------------------------------------------------------------

    def _extract(self, stream: _Readable, *, packed: int) -> Path:
        self._serial += 1
        target = self._folder / f"member-{self._serial}"
        with target.open("xb") as file:
            self._drain(stream, packed=packed, target=file)
        return target

    def _drain(self, stream: _Readable, *, packed: int, target: BinaryIO | None = None) -> None:
        size = 0
        try:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                self._unpacked += len(chunk)
                allowance.earn(len(chunk) // _UNPACKING_IS_FASTER)
                self._check_size(size, packed)
                if target is not None:
                    target.write(chunk)
        except EOFError as error:
            raise refusal(
                "truncated-file",
                "Le fichier compressé est incomplet : sa fin manque.",
                remedy="Refaites l'export ou le transfert, puis déposez le fichier entier.",
            ) from error
        except (zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
            raise _broken_archive() from error

    def _count(self, members: int) -> None:
        self._members += members
        if self._members > self._limits.members:
            raise refusal(
                "limit-exceeded",
                f"L'archive contient plus de {self._limits.members} fichiers.",
                expected=f"au plus {self._limits.members} fichiers",
            )

    def _check_size(self, size: int, packed: int) -> None:
        limits = self._limits
        if max(size, self._unpacked) > limits.unpacked_bytes:
            raise refusal(
                "limit-exceeded",
                f"L'archive dépasse {limits.unpacked_bytes // _MEBIBYTE} Mo une fois ouverte.",
                expected=f"au plus {limits.unpacked_bytes // _MEBIBYTE} Mo",
            )
        if size > limits.ratio_from_bytes and size > limits.ratio * packed:
            raise refusal(
                "limit-exceeded",
                f"L'archive grossit plus de {limits.ratio} fois en s'ouvrant.",
                remedy="Déposez le fichier sans le compresser.",
            )


@contextlib.contextmanager
def _damage_refused() -> Iterator[None]:
    """What a damaged archive makes the libraries raise becomes the refusal of it."""
    try:
        yield
    except _STRUCTURE_ERRORS as error:
        raise _broken_archive() from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # an offset before the beginning of the file
            raise
        raise _broken_archive() from error


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _zip_archive(path: Path) -> zipfile.ZipFile:
    """The archive, opened by the library that knows AES when something in it is encrypted (importing it is slow)."""
    archive = zipfile.ZipFile(path)
    if not any(entry.flag_bits & 1 for entry in archive.infolist()):
        return archive
    archive.close()
    import pyzipper

    try:
        encrypted: zipfile.ZipFile = pyzipper.AESZipFile(path)
    except pyzipper.BadZipFile as error:
        raise zipfile.BadZipFile from error
    return encrypted


def _refuse_what_follows(path: Path) -> None:
    """Refuse a zip that something else than zeros was appended to: another program would read that."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _LONGEST_ENDING, 0))
        ending = file.read()
    begin = ending.rfind(_ENDING)
    if begin < 0 or len(ending) < begin + _ENDING_BYTES:
        return  # no ending: whoever opens it says so
    comment = int.from_bytes(ending[begin + _ENDING_BYTES - 2 : begin + _ENDING_BYTES], "little")
    if ending[begin + _ENDING_BYTES + comment :].strip(b"\0"):
        raise refusal(
            "unreadable-archive",
            "L'archive est suivie d'autre chose que de son contenu.",
            remedy="Refaites l'archive avec les seuls fichiers à déposer.",
        )


def _text_head(head: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")):
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, errors="replace")
    return head.decode("latin-1")


def _is_workbook(path: Path) -> bool:
    """Whether a zip is an XLSX or ODS workbook. A zip that cannot be listed is left to the unpacking to refuse."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "[Content_Types].xml" in names:
                if any(name.startswith("xl/") for name in names):
                    return True
                raise _unsupported("un document bureautique qui n'est pas un classeur")
            if "mimetype" in names and "content.xml" in names:
                with archive.open("mimetype") as file:
                    if file.read(128).strip() == b"application/vnd.oasis.opendocument.spreadsheet":
                        return True
                raise _unsupported("un document bureautique qui n'est pas un classeur")
    except _STRUCTURE_ERRORS:
        return False
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return False


def _ole_workbook(path: Path) -> Kind:
    content = path.read_bytes() if path.stat().st_size <= 64 * _MEBIBYTE else b""
    if "EncryptedPackage".encode("utf-16-le") in content:
        raise refusal(
            "archive-password",
            "Le classeur est protégé par un mot de passe.",
            remedy="Dans Excel : Fichier, Informations, Protéger le classeur, Chiffrer avec mot de passe, "
            "effacez le mot de passe, puis enregistrez et déposez de nouveau.",
        )
    if "Workbook".encode("utf-16-le") not in content and "Book".encode("utf-16-le") not in content:
        raise _unsupported("un document bureautique qui n'est pas un classeur")
    return "spreadsheet"


def _is_rubbish(name: str) -> bool:
    """What operating systems leave in archives on their own."""
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini")


def _check_name(name: str) -> None:
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"^[A-Za-z]:", name) or "\0" in name:
        raise _dangerous_member()


def _dangerous_member() -> Exception:
    return refusal(
        "unreadable-archive",
        "L'archive contient un lien ou un chemin qui sort de l'archive.",
        remedy="Refaites l'archive avec les seuls fichiers à déposer.",
    )


def _broken_archive() -> Exception:
    return refusal(
        "unreadable-archive",
        "L'archive est abîmée : elle ne s'ouvre pas.",
        remedy="Refaites l'archive ou le transfert, puis déposez de nouveau.",
    )


def _locked(message: str) -> Exception:
    return refusal(
        "archive-password",
        message,
        remedy="Déposez l'archive sans mot de passe, ou convenez du mot de passe avec l'exploitant.",
    )


def _unsupported(name: str) -> Exception:
    return refusal(
        "unsupported-format",
        f"Le fichier est {name} : ce format n'est pas pris en charge.",
        expected="un fichier CSV, XLSX, XLS, ODS ou XML, éventuellement compressé (zip, gzip, tar)",
        remedy="Exportez de nouveau dans l'un de ces formats.",
    )
