"""A department's list with twins and namesakes, resolved once: what the tests of the review start from.

Belongs here: its rows, the home, a copy of it for each test. Does not belong here: an assertion.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from insertion_pipeline.identity import resolving, reviewing
from insertion_pipeline.identity.identifiers import nir_key
from insertion_pipeline.ingestion import landing
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

SEPTEMBER, OCTOBER = Month(2026, 9), Month(2026, 10)
HEADER = "Identifiant dans le SI*;Prénom*;Nom*;Date de naissance*;NIR;Email;Droits RSA"
NUMBERS = [f"{thirteen}{nir_key(thirteen)}" for thirteen in ("2820251108030", "2820251108031")]

# two twins of different given names; two alike with two numbers, and a third without who is one of them
ROWS = (
    "1;Chloé;GARMONTET;07/03/1985;;;rsa_clos",
    "2;Manon;GARMONTET;07/03/1985;;;rsa_clos",
    f"3;Odile;VALBRUNOT;11/02/1982;{NUMBERS[0]};odile@exemple.fr;rsa_clos",
    f"4;Odile;VALBRUNOT;11/02/1982;{NUMBERS[1]};odile@exemple.fr;rsa_clos",
    "5;Odile;VALBRUNOT;11/02/1982;;odile@exemple.fr;rsa_clos",
)


def listing(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Home:
    """A department's list, resolved: who is with whom, by the department's own ids."""

    lake: Lake
    registry: Registry
    folder: Path

    @classmethod
    def copy_of(cls, resolved: Home, folder: Path) -> Home:
        """A home like another, to do with as one likes."""
        shutil.copytree(resolved.folder, folder / "deposits")
        shutil.copytree(resolved.lake.home, folder / "home")
        return cls(Lake.open(folder / "home", clock=resolved.lake.clock), resolved.registry, folder / "deposits")

    def deliver(self, *lines: str, month: Month = OCTOBER) -> None:
        path = listing(self.folder / f"{month}-{len(list(self.folder.iterdir()))}.csv", *lines)
        receipt = landing.deliver(path, "dep-52", "department_list", month, self.registry, self.lake).receipt
        assert receipt.status in ("applied", "held"), receipt
        if receipt.status == "held":
            landing.confirm(receipt.sha256, "dep-52", self.registry, self.lake)

    def run(self, *months: Month) -> None:
        resolving.resolve(self.lake, self.registry, months or (OCTOBER,))

    def together(self, months: tuple[Month, ...] = (OCTOBER,)) -> set[frozenset[str]]:
        with self.lake.connect(sealed_spill=True) as connection:
            resolving.gather(connection, self.lake, self.registry, months, resolving.records.conformed_rows)
            connection.register("persons", self.lake.read_parquet(resolving.persons_file(self.lake, "fr")))
            rows = connection.execute(
                "SELECT list(DISTINCT department_person_id) FROM sightings JOIN persons USING (record_id)"
                " GROUP BY person_id"
            ).fetchall()
        return {frozenset(ids) for (ids,) in rows}

    def waiting(self) -> dict[str, reviewing.ReviewedPair]:
        return {pair.state: pair for pair in reviewing.queue(self.lake, "fr")}


@pytest.fixture(scope="session")
def resolved(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Home:
    """The list delivered and resolved; nobody changes it."""
    folder = tmp_path_factory.mktemp("resolved")
    (folder / "deposits").mkdir()
    made = Home(Lake.open(folder / "home"), registry, folder / "deposits")
    made.deliver(*ROWS)
    made.run()
    return made
