"""Properties of the readers that hold for any file, and a short search for bytes that break them."""

from __future__ import annotations

import contextlib
import csv
import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insertion_pipeline.ingestion.conforming import Conformed, conform
from insertion_pipeline.ingestion.cutting import Task, cut
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.extracts import UnreadableDelivery
from insertion_pipeline.ingestion.gathering import Store
from insertion_pipeline.ingestion.reading import Reading
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry, Source

MONTH = Month.parse("2026-09")
HEADER = "Nom;Prénom;Date de naissance;Identifiant dans le SI;NIR;Email\n"
LINES = st.text(alphabet='ab1;"\n\r\té,|\x1f=@ \u200b', max_size=60)
ONE_AFTER_ANOTHER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def in_process(path: Path, source: Source, block_bytes: int) -> Reading:
    """The file read in this process: what the confined one does."""
    folder = path.parent / "unpacked"
    folder.mkdir(exist_ok=True)
    return Reading(source.name, tuple(cut(Task((path,), folder, Limits(block_bytes=block_bytes)), source, MONTH)))


@ONE_AFTER_ANOTHER
@given(
    text=st.lists(LINES, max_size=8),
    encoding=st.sampled_from(["utf-8", "cp1252", "utf-16"]),
    blocks=st.integers(8, 200),
)
def test_every_line_is_somewhere_wherever_blocks_are_cut(
    registry: Registry, tmp_path: Path, text: list[str], encoding: str, blocks: int
) -> None:
    path, source = tmp_path / "file", registry.source("department_list")
    path.write_bytes((HEADER + "\n".join(text)).encode(encoding, errors="replace"))
    try:
        whole = in_process(path, source, 8 << 20)
    except UnreadableDelivery:
        with pytest.raises(UnreadableDelivery):
            in_process(path, source, blocks)
        return
    cut_up = in_process(path, source, blocks)
    assert cut_up.account == whole.account
    assert cut_up.account.is_balanced
    assert {name: rows.to_pylist() for name, rows in cut_up.tables.items()} == {
        name: rows.to_pylist() for name, rows in whole.tables.items()
    }
    assert cut_up.unreadable.to_pylist() == whole.unreadable.to_pylist()


@ONE_AFTER_ANOTHER
@given(
    content=st.binary(max_size=400),
    source=st.sampled_from(["department_list", "fluxiae", "cnaf_vrsb0801", "fiche_salarie"]),
)
def test_any_bytes_are_read_or_refused(registry: Registry, tmp_path: Path, content: bytes, source: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with contextlib.suppress(UnreadableDelivery):
        assert in_process(path, registry.source(source), 64).account.is_balanced


def test_the_verdict_does_not_depend_on_where_the_file_is_cut(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    """Wrong cells, duplicates that are rejected late, orphans, records over lines: cut in pieces of every size."""
    source = registry.source("emplois_applications")
    table = source.version_for(MONTH).resources[0]
    key = table.schema_.primaryKey[0]
    names = [one.name for one in table.fields]
    examples = {one.name: one.example or "" for one in table.fields}
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    writer.writerow(names)
    for number in range(400):
        row = examples | {key: str(number if number % 50 else 7)}
        if number % 9 == 0:
            row |= dict.fromkeys(names[3:6], "??")
        writer.writerow([row[name] for name in names])
        if number % 40 == 0:
            text.write('un;"guillemet;perdu\n')
    path = tmp_path / "file"
    path.write_text(text.getvalue(), encoding="cp1252", errors="replace")
    found = []
    with Statements.opened(lake) as statements:
        for block_bytes, memory_bytes in ((8 << 20, 1 << 30), (1 << 14, 1 << 30), (1 << 12, 0), (3_001, 1 << 15)):
            with Store.opened(lake, memory_bytes=memory_bytes) as store:
                reading = in_process(path, source, block_bytes)
                conformed = conform(reading, source, MONTH, registry, lake, statements=statements, store=store)
                assert isinstance(conformed, Conformed)
                tables = [
                    (name, rows.to_pylist())
                    for name, rows in (*conformed.accepted.items(), *conformed.rejected.items())
                ]
                found.append((tables, conformed.findings.to_pylist(), conformed.account, conformed.span))
    assert conformed.account.rejected > 8
    assert {"duplicate-key", "unbalanced-quote"} <= {row["code"] for row in found[0][1]}
    assert all(one == found[0] for one in found[1:])


def test_what_spilled_is_kept_as_what_stayed_in_memory(lake: Lake, tmp_path: Path) -> None:
    rows = pa.table({"a": pa.array(range(1000), pa.int64()), "b": pa.array(map(str, range(1000)), pa.string())})
    key, saved = b"0123456789abcdef", []
    for memory_bytes in (0, 1 << 20):
        with Store.opened(lake, key, memory_bytes=memory_bytes) as store:
            gathered = store.gather(rows.schema)
            for first in range(0, 1000, 100):
                gathered.append(rows.slice(first, 100))
            assert gathered.table().equals(rows)
            for number in (1, 2):  # kept twice: in place of its bytes, and as tables
                path = tmp_path / f"{memory_bytes}-{number}.parquet"
                gathered.save(lake, path, key)
                saved.append(pa.Table.from_batches(gathered.batches()))
                assert b"999" not in path.read_bytes()
    assert all(one.equals(rows) for one in saved)


def test_a_few_seconds_of_search_find_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    command = [
        sys.executable,
        "-m",
        "insertion_pipeline_tests.fuzzing.readers",
        "--seconds",
        "2",
        "--corpus",
        str(tmp_path),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert not list(tmp_path.glob("crash-*"))
