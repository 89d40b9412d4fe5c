"""What the command answers when it cannot take a file: French, an exit code, and nothing kept but the refusal."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from insertion_pipeline.cli import app
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.lake import Lake

HEADER = "Mois;Code de l'ALE;Nom;Prénom;Date de naissance;Commune de résidence;Statut;Heures du mois"
ROW = "2026-09;ALE-52011;NOM{0};Léa;0{0}/02/1980;52011;DEDA;12,5"
GOOD = "\n".join([HEADER, *(ROW.format(number) for number in range(1, 10))]) + "\n"
ENGLISH = ("Traceback", "Error", "error:", "expected", "Missing", "Invalid", "not found", "is not")


def insertion(home: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["--home", str(home), *map(str, arguments)])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose keys are there already: what creating them says is not looked at here."""
    folder = tmp_path / "home"
    lake = Lake.open(folder)
    for space in ("fr", "be"):
        lake.keyring.space_key(space)
    return folder


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content.encode(encoding)) and None


def raw(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def zipped() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ale.csv", GOOD * 50)
    return target.getvalue()


#: name → (how the file is made, partner, further arguments, code of the finding that says why)
REFUSALS: dict[str, tuple[Callable[[Path], object], str, tuple[str, ...], str]] = {
    "unknown partner": (text(GOOD), "ale-inconnue", (), "unknown-partner"),
    "source of another partner": (text(GOOD), "ale-namur", ("--source", "siae_monthly"), "wrong-source"),
    "source that does not exist": (text(GOOD), "ale-namur", ("--source", "tableau"), "wrong-source"),
    "content of another source": (text("a;b;c\n1;2;3\n"), "ale-namur", (), "wrong-source"),
    "content unlike the source announced": (
        text("a;b;c\n1;2;3\n"), "ale-namur", ("--source", "ale_activity"), "wrong-source",
    ),
    "empty file": (raw(b""), "ale-namur", (), "empty-file"),
    "blank lines": (raw(b"\n;;\n\n"), "ale-namur", ("--source", "ale_activity"), "empty-file"),
    "titles alone": (text(HEADER + "\n"), "ale-namur", (), "empty-file"),
    "two encodings": (
        raw(GOOD.encode() + ROW.format(9).encode("cp1252") + b"\n"), "ale-namur", ("--source", "ale_activity"),
        "encoding-error",
    ),
    "characters that are no text": (
        raw(GOOD.encode() + b"\0\0\n"), "ale-namur", ("--source", "ale_activity"), "encoding-error",
    ),
    "truncated gzip": (raw(gzip.compress(GOOD.encode())[:-9]), "ale-namur", (), "truncated-file"),
    "truncated zip": (raw(zipped()[:-60]), "ale-namur", (), "unreadable-archive"),
    "image": (raw(b"\x89PNG\r\n\x1a\n" + bytes(50)), "ale-namur", (), "unsupported-format"),
    "missing column": (
        text(GOOD.replace("Statut;", "").replace("DEDA;", "")), "ale-namur", ("--source", "ale_activity"),
        "missing-header",
    ),
    "month before the contract": (text(GOOD), "ale-namur", ("--month", "1999-01"), "month-outside-contract"),
    "month before the contract in the rows": (
        text(GOOD.replace("2026-09", "1999-01")), "ale-namur", (), "month-outside-contract",
    ),
    "another month": (text(GOOD), "ale-namur", ("--month", "2026-10"), "period-mismatch"),
    "several months": (text(GOOD.replace("2026-09", "2026-08", 4)), "ale-namur", (), "period-missing"),
    "list without its month": (
        text("Nom;Prénom;Date de naissance;Code postal\nNOM;Léa;01/02/1980;52000\n"), "dep-52", (), "period-missing",
    ),
    "more rows rejected than allowed": (
        text(GOOD.replace("2026-09;ALE-52011;", "2026-09;;", 3)), "ale-namur", (), "required-value",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_said_in_french_and_nothing_of_the_file_is_kept(case: str, tmp_path: Path, home: Path) -> None:
    make, partner, further, code = REFUSALS[case]
    path = tmp_path / "depot.dat"
    make(path)

    shown = insertion(home, "check", path, "--partner", partner, *further)
    assert shown.exit_code == 3, shown.output
    assert "Refusé" in shown.stdout
    assert "→" in shown.stdout, "every refusal says what to do"
    assert not [word for word in ENGLISH if word in shown.output]

    answer = json.loads(insertion(home, "check", path, "--partner", partner, *further, "--json").stdout)
    assert answer["verdict"] == 3
    assert code in [finding["code"] for finding in answer["findings"]]
    assert all(finding["message"] and finding["remedy"] for finding in answer["findings"])
    assert answer["lines"] == sum(answer[key] for key in ("accepted", "rejected", "blank", "header_footer"))
    assert answer["lines"] == sum(member["lines"] for member in answer["members"])
    assert not (home / "landing").exists(), "a check stores nothing"

    delivered = insertion(home, "deliver", path, "--partner", partner, *further, "--json")
    assert delivered.exit_code == 3
    receipt = json.loads(delivered.stdout)
    assert (receipt["verdict"], receipt["status"]) == (3, "refused")
    assert receipt["findings"][code] >= 1
    assert [one.status for one in receipts(Lake.open(home))] == ["refused"]
    folders = {"landing/receipts", "landing/refusals"}
    kept = [one.relative_to(home) for one in home.rglob("*") if one.is_file()]
    stored = {one.parent.as_posix() for one in kept if one.parts[0] not in ("secrets", "VERSION")}
    assert {one for one in stored if not one.startswith("landing/.")} <= folders | {"landing"}
    for one in kept:
        assert "NOM1" not in (home / one).read_text(errors="replace")


def test_a_refused_delivery_changes_nothing(tmp_path: Path, home: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(GOOD)
    bad.write_text("a;b\n1;2\n")
    assert insertion(home, "deliver", good, "--partner", "ale-namur").exit_code == 0
    before = {path: path.read_bytes() for path in (home / "sealed").rglob("*") if path.is_file()}
    assert insertion(home, "deliver", bad, "--partner", "ale-namur", "--source", "ale_activity").exit_code == 3
    assert {path: path.read_bytes() for path in (home / "sealed").rglob("*") if path.is_file()} == before
    assert [receipt.status for receipt in receipts(Lake.open(home))] == ["applied", "refused"]


def test_a_stray_row_of_another_month_is_rejected_alone(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "depot.csv"
    path.write_text(GOOD + ROW.format(1).replace("2026-09", "2026-08") + "\n")
    checked = insertion(home, "check", path, "--partner", "ale-namur", "--json")
    answer = json.loads(checked.stdout)
    assert (checked.exit_code, answer["verdict"], answer["period"], answer["span"]) == (1, 2, "2026-09", "2026-09")
    assert (answer["accepted"], answer["rejected"]) == (9, 1)
    (finding,) = answer["findings"]
    assert (finding["code"], finding["line"], finding["value"]) == ("period-mismatch", 11, "2026-08")
    assert "2026-09" in finding["expected"]
    assert "autre mois" in finding["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "absent.csv", "--partner", "ale-namur"), "Fichier absent : absent.csv"),
        (("deliver", "absent.csv", "--partner", "ale-namur"), "Fichier absent : absent.csv"),
        (("check", "FILE", "--partner", "ale-namur", "--month", "septembre"), "Mois illisible : écrivez-le AAAA-MM"),
        (("check", "FILE", "--partner", "ale-namur", "--month", "2026-13"), "Mois illisible"),
        (("deliver", "FILE", "--partner", "ale-namur", "--month", "09/2026"), "Mois illisible"),
        (("check", "FILE"), "Option manquante"),
        (("check", "FILE", "--partner", "ale-namur", "--report", "rapport.pdf"), "l'extension doit être"),
        (("check", "FILE", "--partner", "ale-namur", "--report", "FILE"), "écraserait le fichier contrôlé"),
        (("check", "FILE", "--partner", "ale-namur", "--report", "nulle/part.csv"), "Dossier absent"),
        (("template", "--source", "tableau", "--out", "x.xlsx"), "Type de fichier inconnu"),
        (("template", "--source", "fluxiae", "--out", "x.xlsx"), "pas de modèle"),
        (("template", "--source", "ale_activity", "--out", "x.pdf"), "l'extension doit être"),
        (("template", "--source", "ale_activity", "--out", "x.csv", "--month", "1999-01"), "n'a pas de format pour"),
    ],
)
def test_wrong_usage_has_exit_code_4(arguments: tuple[str, ...], said: str, tmp_path: Path, home: Path) -> None:
    path = tmp_path / "fichier.csv"
    path.write_text(GOOD)
    given = [str(path) if argument == "FILE" else argument for argument in arguments]
    done = insertion(home, *given)
    assert (done.exit_code, done.stdout) == (4, "")
    assert said in done.stderr
    assert "Traceback" not in done.output
    answer = json.loads(insertion(home, *given, "--json").stdout)
    assert answer["exit_code"] == 4
    assert said in answer["error"]
    assert not (home / "landing").exists()


def test_an_encrypted_archive_opens_with_the_password_of_the_settings(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyzipper

    path = tmp_path / "depot.zip"
    with pyzipper.AESZipFile(path, "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"mot de passe")
        archive.writestr("ale.csv", GOOD)
    refused = insertion(home, "check", path, "--partner", "ale-namur", "--json")
    assert (refused.exit_code, json.loads(refused.stdout)["findings"][0]["code"]) == (3, "archive-password")
    monkeypatch.setenv("INSERTION_ARCHIVE_PASSWORD", "autre chose")
    assert insertion(home, "check", path, "--partner", "ale-namur").exit_code == 3
    monkeypatch.setenv("INSERTION_ARCHIVE_PASSWORD", "mot de passe")
    assert insertion(home, "check", path, "--partner", "ale-namur").exit_code == 0
    report = tmp_path / "rapport.xlsx"
    assert insertion(home, "check", path, "--partner", "ale-namur", "--report", report).exit_code == 0
    assert zipfile.ZipFile(report).namelist().count("xl/worksheets/sheet3.xml") == 1, "the file is handed back"
    delivered = insertion(home, "deliver", path, "--partner", "ale-namur", "--json")
    assert (delivered.exit_code, json.loads(delivered.stdout)["accepted"]) == (0, 9)
    assert "mot de passe" not in "".join(one.read_text(errors="replace") for one in home.rglob("*") if one.is_file())
