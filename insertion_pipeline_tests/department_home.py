"""A department's list of three persons, resolved and pseudonymised once: what tests of keys and of rights start from.

Belongs here: its rows, the home, a copy of it for each test. Does not belong here: an assertion about the pipeline.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from insertion_pipeline.identity import pseudonymising, resolving
from insertion_pipeline.identity.identifiers import nir_key
from insertion_pipeline.ingestion import deliveries, landing
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

SEPTEMBER, OCTOBER = Month(2026, 9), Month(2026, 10)
HERS = "2800452121001" + nir_key("2800452121001")
ANOTHERS = "2800454395002" + nir_key("2800454395002")
HEADER = "Identifiant dans le SI*;Prénom*;Nom*;Date de naissance*;NIR;Droits RSA"
HER_ROWS = (f"77001;Zéphirine;VALBRUNOT;05/04/1980;{HERS};rsa_clos",)
OTHER_ROWS = (
    f"77002;Zéphirine;VALBRUNOT;05/04/1980;{ANOTHERS};rsa_clos",
    "77003;Paul;ESSAI;01/02/1970;;rsa_clos",
)


def listing(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    return path


class Home:
    """A home that delivers a department's list and resolves it, without the rest of the night."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.folder, self.registry = folder, registry
        self.lake = Lake.open(folder)

    def deliver(self, path: Path, month: Month = OCTOBER) -> None:
        assert landing.deliver(path, "dep-52", "department_list", month, self.registry, self.lake).receipt.counts

    def run(self, *months: Month) -> None:
        told = months or (OCTOBER,)
        resolution = resolving.resolve(self.lake, self.registry, told)
        pseudonymising.pseudonymise_months(self.lake, self.registry, resolution, "department_list", told)

    def known(self) -> list[str]:
        """What is known of whom: the partner's own ids of the persons in the pseudonymised table and in identity."""
        with self.lake.connect(sealed_spill=True) as connection:
            rows = deliveries.conformed_rows(
                self.lake, connection, self.registry, "department_list", "beneficiaires", [SEPTEMBER, OCTOBER]
            )
            found = connection.execute(f"SELECT DISTINCT department_internal_id FROM {rows} ORDER BY 1").fetchall()
            return [str(one) for (one,) in found]

    def persons(self) -> int:
        file = resolving.persons_file(self.lake, "fr")
        return len(set(self.lake.read_parquet(file)["person_id"].to_pylist()))

    def pseudonymised(self) -> int:
        file = pseudonymising.pseudonymised_file(self.lake, "department_list", "beneficiaires", OCTOBER)
        return self.lake.read_parquet(file).num_rows


@pytest.fixture(scope="session")
def three_persons(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    """The folder of a home that knows three persons, which nobody changes; their list stands beside it."""
    folder = tmp_path_factory.mktemp("three_persons")
    made = Home(folder / "home", registry)
    made.deliver(listing(folder / "list.csv", *HER_ROWS, *OTHER_ROWS))
    made.run()
    assert (made.persons(), made.pseudonymised()) == (3, 3)
    return folder


@pytest.fixture
def department(three_persons: Path, tmp_path: Path, registry: Registry) -> Home:
    """A copy, to do with as one likes."""
    shutil.copytree(three_persons, tmp_path, dirs_exist_ok=True)
    return Home(tmp_path / "home", registry)
