"""The sixteen sources: a small handmade file of each in its real format, judged, with counts and values set by hand.

Every person is made up. The traps are those of the formats as their systems write them.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from insertion_pipeline.identity.identifiers import canonical_caf_matricule, canonical_france_travail_id, nir_key
from insertion_pipeline.identity.pseudonymising import pseudonymise, pseudonymised_file
from insertion_pipeline.identity.resolving import resolve
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.ingestion.headers import comparable
from insertion_pipeline.ingestion.judging import Judgement, judge
from insertion_pipeline.ingestion.landing import deliver
from insertion_pipeline.ingestion.reading import UnreadableDelivery, read, recognise
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Partner, Registry, Source

SEPTEMBER = Month(2026, 9)
SOURCES = (
    "ale_activity", "forem_jobseekers", "siae_monthly", "fluxiae", "fiche_salarie", "emplois_applications",
    "department_list", "department_pathways", "department_appointments", "department_contacts", "cnaf_vrsb0801",
    "ft_spie", "ft_registrations", "ft_actions", "ft_diagnosis", "dsn_outcomes",
)  # fmt: skip
LATEST = (
    "fiche_salarie", "emplois_applications", "department_pathways", "department_appointments", "ft_registrations",
    "ft_actions", "ft_diagnosis", "dsn_outcomes",
)  # fmt: skip
NIR_13 = "2800452121001"
NIR_15 = NIR_13 + nir_key(NIR_13)
OTHER_NIR_13 = "1790308409002"
UUID = "00000000-0000-4000-8000-00000000000"


# -- depositing --------------------------------------------------------------------------------------------------------


def delivering(registry: Registry, source: str, **changes: Any) -> Registry:
    """The registry with one more partner, `essai`, who delivers `source`."""
    contract = registry.source(source)
    space = contract.insertion.spaces[0]
    values: dict[str, Any] = {
        "code": "essai",
        "name": "Essai",
        "family": contract.family,
        "space": space,
        "territory_code": "FR-DEP-52" if space == "fr" else "BE-COM-52011",
        "sources": (source,),
        "since": Month(2020, 1),
    }
    partners = {**registry.partners, "essai": Partner.model_validate(values | changes)}
    return dataclasses.replace(registry, partners=partners)


def judged(
    registry: Registry,
    lake: Lake,
    source: str,
    delivery: Path | Sequence[Path],
    month: Month | None = SEPTEMBER,
    **changes: Any,
) -> Judgement:
    return judge(delivery, "essai", source, month, delivering(registry, source, **changes), lake)


def recognised(registry: Registry, file: Path) -> str | None:
    """The source that the content fits, among all of them."""
    found = recognise(file, list(registry.sources.values()))
    return found.name if found is not None else None


def rows(judgement: Judgement, table: str) -> list[dict[str, Any]]:
    """The accepted rows."""
    assert judgement.conformed is not None, judgement.findings.to_pylist()
    found: list[dict[str, Any]] = judgement.conformed.accepted[table].to_pylist()
    return found


def findings(judgement: Judgement) -> list[tuple[str, int | None, str]]:
    """(code, or the contract's own rule, line, field) of each finding."""
    return [
        (row["rule"] if row["code"] == "rule-error" else row["code"], row["line"], row["field"])
        for row in judgement.findings.to_pylist()
    ]


def named(judgement: Judgement) -> set[str]:
    return {code for code, _, _ in findings(judgement)}


def counts(judgement: Judgement) -> tuple[int, int, int]:
    """Verdict, accepted, rejected, once the account is known to balance."""
    account = judgement.account.checked()
    return judgement.verdict, account.accepted, account.rejected


def text(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


def table_text(header: Sequence[str], values: Sequence[Mapping[str, str]], separator: str = ";") -> str:
    """A delimited table whose rows are given by column; columns that a row leaves out are empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([row.get(name, "") for name in header] for row in values)
    return buffer.getvalue()


def workbook(path: Path, sheets: Mapping[str, Sequence[Any]]) -> Path:
    with xlsxwriter.Workbook(path) as book:
        for name, content in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(content):
                sheet.write_row(number, 0, row)
    return path


# -- the contracts -----------------------------------------------------------------------------------------------------


def tables_of(source: Source) -> tuple[ContractTable, ...]:
    return source.version_for(SEPTEMBER).resources


class TestContracts:
    def test_there_are_the_sixteen_sources(self, registry: Registry) -> None:
        assert set(registry.sources) == set(SOURCES)

    @pytest.mark.parametrize("name", LATEST)
    def test_every_kept_column_is_explained_in_french(self, registry: Registry, name: str) -> None:
        for table in tables_of(registry.source(name)):
            for field in table.stored_fields:
                where = f"{name}.{table.name}.{field.name}"
                assert field.title, where
                assert field.description, where
                assert field.example is not None, where
                assert not field.constraints.required or field.insertion.remedy, where
                assert field.insertion.person is None or field.insertion.personal, where
                assert not field.insertion.personal or field.insertion.use in ("link", "both"), where

    @pytest.mark.parametrize("name", LATEST)
    def test_a_title_belongs_to_one_column(self, registry: Registry, name: str) -> None:
        for table in tables_of(registry.source(name)):
            owner: dict[str, str] = {}
            for field in table.fields:
                for header in {comparable(one) for one in (field.name, *field.insertion.aliases)}:
                    assert owner.setdefault(header, field.name) == field.name, (name, table.name, header)

    def test_code_lists_hold_for_the_month(self, registry: Registry) -> None:
        categories = registry.nomenclature("ft_statistical_categories")
        assert categories.codes(Month(2024, 12)) == frozenset("ABCDE")
        assert categories.codes(Month(2025, 1)) == frozenset("ABCDEFG")
        for source in registry.sources.values():
            for table in tables_of(source):
                for field in table.fields:
                    if field.insertion.code_list is not None:
                        codes = registry.nomenclature(field.insertion.code_list).codes(SEPTEMBER)
                        assert set(field.insertion.values.values()) <= codes, (source.name, field.name)

    def test_networks_are_those_of_the_structures_and_do_not_add_up(self, registry: Registry) -> None:
        structures = {partner.siret for partner in registry.partners.values() if partner.siret}
        members = list(registry.nomenclature("siae_networks").records(SEPTEMBER))
        assert {row["code"] for row in members} <= structures
        assert len(members) > len({row["code"] for row in members})
        ended = {row["code"] for row in registry.nomenclature("siae_networks").records(Month(2025, 12))}
        assert {row["programme"] for row in members} == {"", "premieres_heures"}
        assert "10005005300014" in ended

    @pytest.mark.parametrize("name", [name for name in LATEST if name != "fiche_salarie"])
    def test_its_own_examples_satisfy_a_contract(
        self, registry: Registry, lake: Lake, tmp_path: Path, name: str
    ) -> None:
        delivery = []
        for table in tables_of(registry.source(name)):
            example = {field.name: field.example or "" for field in table.stored_fields}
            delivery.append(tmp_path / f"{table.name}.csv")
            delivery[-1].write_text(table_text(list(example), [example]), encoding="utf-8")
        judgement = judged(registry, lake, name, delivery)
        assert counts(judgement)[1:] == (len(delivery), 0)
        assert not [row for row in judgement.findings.to_pylist() if row["code"] != "suspicious-text"]


# -- SIAE --------------------------------------------------------------------------------------------------------------


def employee_record(**changes: Any) -> dict[str, Any]:
    """A line of a batch as les emplois writes it; a change to `personnePhysique` and its sisters is merged in."""
    line: dict[str, Any] = {
        "numLigne": 1,
        "typeMouvement": "C",
        "mesure": "EI_DC",
        "siret": "10002002300014",
        "personnePhysique": {
            "passIae": "999990000001", "sufPassIae": None, "idItou": "0123456789abcdef0123456789abcd",
            "civilite": "MME", "nomUsage": "EXEMPLE", "nomNaissance": None, "prenom": "CAMILLE",
            "dateNaissance": "21/04/1980", "codeComInsee": {"codeComInsee": "52121", "codeDpt": "052"},
            "codeInseePays": "100", "codeGroupePays": "1", "passDateDeb": "01/03/2026", "passDateFin": "28/02/2028",
            "salarieNIR": NIR_15,
        },
        "adresse": {
            "adrTelephone": None, "adrMail": None, "adrNumeroVoie": "12", "codeextensionvoie": None,
            "codetypevoie": "RUE", "adrLibelleVoie": "DES ESSAIS", "adrCpltDistribution": None,
            "codeinseecom": "54323", "codepostalcedex": "54400",
        },
        "situationSalarie": {
            "orienteur": "03", "niveauFormation": "50", "salarieEnEmploi": False, "salarieSansEmploiDepuis": "04",
            "salarieSansRessource": True, "inscritPoleEmploi": True, "inscritPoleEmploiDepuis": "04",
            "numeroIDE": "1234567A", "salarieRQTH": True, "salarieOETH": False, "salarieAideSociale": False,
            "salarieBenefRSA": "OUI-NM", "salarieBenefRSADepuis": "03", "salarieBenefASS": False,
            "salarieBenefASSDepuis": None, "salarieBenefAAH": False, "salarieRefugie": False,
            "salarieParentIsole": False, "salarieSortantDetention": True,
        },
        "codeTraitement": None,
        "libelleTraitement": None,
    }  # fmt: skip
    for key, value in changes.items():
        line[key] = {**line[key], **value} if isinstance(value, dict) else value
    return line


def batch(path: Path, *lines: Any) -> Path:
    content = {"msgInformatif": None, "telId": None, "lignesTelechargement": list(lines)}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


class TestFicheSalarie:
    def test_a_batch_is_counted_by_its_elements(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        other = {"idItou": "f" * 30, "civilite": "M", "salarieNIR": "11234567890123456789abcdef"}
        file = batch(
            tmp_path / "RIAE_FS_20260930120000.json",
            employee_record(),
            employee_record(numLigne=2, personnePhysique=other),
        )
        judgement = judged(registry, lake, "fiche_salarie", file)
        assert counts(judgement) == (0, 2, 0), findings(judgement)
        assert judgement.account.lines == 2
        first, second = rows(judgement, "lignes")
        assert first["nir"] == NIR_15
        assert first["date_naissance"] == date(1980, 4, 21)
        assert (first["inscrit_depuis_code"], first["rsa"], first["en_emploi"]) == ("04", "OUI-NM", False)
        assert second["nir"] == "11234567890123456789ABCDEF", "an NTT is no NIR, and no error"

    def test_health_origin_and_justice_are_not_kept(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        judgement = judged(registry, lake, "fiche_salarie", batch(tmp_path / "x.json", employee_record()))
        kept = set(rows(judgement, "lignes")[0])
        assert not kept & {
            "rqth",
            "oeth",
            "refugie",
            "sortant_detention",
            "pays_naissance",
            "aah",
            "libelle_traitement",
        }

    def test_the_fillers_of_an_update_place_nobody(self, registry: Registry, lake: Lake) -> None:
        table = registry.source("fiche_salarie").table("lignes", SEPTEMBER)
        assert {field.insertion.person for field in table.fields} & {
            "residence_code",
            "postal_code",
            "address",
        } == set()
        with lake.connect() as connection:
            for movement, lane, commune, expected in (
                ("M", "DE BLIDA", "57463", None),
                ("C", "DE BLIDA", "57463", "57463"),
                ("M", "DES ESSAIS", "57463", "57463"),
                ("M", None, "54323", "54323"),
            ):
                given = "(SELECT ? AS type_mouvement, ? AS voie, ? AS code_commune)"
                query = f"SELECT {table.insertion.person_context['residence_code']} FROM {given}"
                assert connection.execute(query, [movement, lane, commune]).fetchone() == (expected,)

    def test_what_the_asp_refused_is_said_and_a_duplicate_is_a_success(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        lines = [
            employee_record(numLigne=rank, codeTraitement=code, libelleTraitement="Exemple Camille")
            for rank, code in enumerate(("0000", "3436", "3435"), start=1)
        ]
        judgement = judged(registry, lake, "fiche_salarie", batch(tmp_path / "RIAE_FS_x_FichierRetour.json", *lines))
        assert counts(judgement) == (1, 3, 0)
        assert findings(judgement) == [("refused-by-asp", 3, "code_traitement")]

    def test_every_title_read_as_madame_is_noticed(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        man = {"civilite": "MME", "salarieNIR": OTHER_NIR_13 + nir_key(OTHER_NIR_13)}
        judgement = judged(
            registry, lake, "fiche_salarie", batch(tmp_path / "x.json", employee_record(personnePhysique=man))
        )
        assert ("title-contradicts-number", 1, "civilite, nir") in findings(judgement)

    def test_a_pass_that_never_ends_has_no_end(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        record = employee_record(personnePhysique={"passDateFin": "01/01/2040"})
        judgement = judged(registry, lake, "fiche_salarie", batch(tmp_path / "x.json", record))
        assert rows(judgement, "lignes")[0]["pass_date_fin"] is None

    def test_an_element_of_another_shape_is_rejected_alone(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        path = batch(tmp_path / "x.json", *[employee_record(numLigne=rank) for rank in range(1, 17)])
        content = json.loads(path.read_text(encoding="utf-8"))
        content["lignesTelechargement"] += [None, {**employee_record(), "siret": ["10002002300014"]}]
        broken = json.dumps(content)[:-2] + ',{"siret":"1","siret":"2"}]}'
        path.write_text(broken, encoding="utf-8")
        judgement = judged(registry, lake, "fiche_salarie", path)
        assert counts(judgement) == (2, 16, 3)
        structural = [(code, line) for code, line, _ in findings(judgement) if code == "line-structure"]
        assert structural == [("line-structure", 17), ("line-structure", 18), ("line-structure", 19)]

    def test_a_key_that_nobody_knows_is_shown_to_the_depositor_alone(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        line = employee_record(adresse={"Camille EXEMPLE": "secret"})
        judgement = judged(registry, lake, "fiche_salarie", batch(tmp_path / "x.json", line))
        (finding,) = judgement.findings.to_pylist()
        assert (finding["code"], finding["value"]) == ("extra-header", "adresse/Camille EXEMPLE")
        assert "Camille" not in finding["message"] + finding["expected"] + finding["remedy"]
        assert "secret" not in str(rows(judgement, "lignes"))

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            ('{"lignesTelechargement": [{"numLigne": 1}, {"numLi', "truncated-file"),
            ('{"lignesTelechargement": [{"numLigne": 1}]', "truncated-file"),
            ('{"lignesTelechargement": [{"numLigne": NaN}]}', "unsupported-format"),
            ('{"lignesTelechargement": [{"numLigne" 1}]}', "unsupported-format"),
            ('{"lignesTelechargement": ' + "[" * 200_000, "limit-exceeded"),
            ('{"a": {"b": ' * 100_000, "limit-exceeded"),
            ('{"lignes": []}', "wrong-source"),
            ("nom;prenom\nEXEMPLE;Camille\n", "wrong-source"),
        ],
    )
    def test_what_is_not_a_whole_batch_is_refused(
        self, registry: Registry, tmp_path: Path, content: str, code: str
    ) -> None:
        path = tmp_path / "x.json"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(UnreadableDelivery) as refused:
            read(path, registry.source("fiche_salarie"))
        assert refused.value.finding.code == code

    def test_a_field_that_no_element_has_refuses_the_batch(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        line = employee_record()
        del line["mesure"]
        judgement = judged(registry, lake, "fiche_salarie", batch(tmp_path / "x.json", line))
        assert judgement.verdict == 3
        assert ("missing-header", None, "mesure") in findings(judgement)

    def test_a_batch_is_recognised_among_all_sources(self, registry: Registry, tmp_path: Path) -> None:
        assert recognised(registry, batch(tmp_path / "x", employee_record())) == "fiche_salarie"


APPLICATION = {
    "id": UUID + "1", "id_candidat": "77", "Nom": "EXEMPLE", "Prénom": "Camille", "Date de naissance": "21/04/1980",
    "Sexe": "F", "Identifiant France Travail": "1234567A", "SIRET": "10002002300014", "type_structure": "ACI",
    "date_candidature": "2026-07-01", "Date de prise en compte": "2026-07-20", "Date de réponse": "2026-08-24",
    "date_début_contrat": "2026-09-01", "état": "Candidature acceptée", "origine": "Prescripteur habilité",
    "Type d'organisation prescripteur": "ML", "motif_de_refus": "", "candidature_refusée_automatiquement": "false",
    "Envoyée par l'employeur": "non", "Critères niveau 1": "1", "Critères niveau 2": "3",
    "type_auteur_diagnostic": "Prescripteur",
}  # fmt: skip


class TestEmploisApplications:
    def test_three_sheets_are_three_tables(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        post = {"ID poste": 4512, "SIRET": 10002002300014, "Type employeur": "ACI", "ROME": "K2204", "Ouvert": "oui",
                "Ouvert depuis": "01/07/2026", "Recrutements": 0, "Candidatures reçues": 6}  # fmt: skip
        holder = {"Numéro": "999990000001", "id_candidat": 77, "date_début": "01/03/2026", "Date de fin": "01/01/2040",
                  "Suspendu": "non", "Prolongations": 0}  # fmt: skip
        sheets = {
            name: [list(row), list(row.values())]
            for name, row in (("Candidatures", APPLICATION), ("Postes", post), ("PASS", holder))
        }
        judgement = judged(registry, lake, "emplois_applications", workbook(tmp_path / "x.xlsx", sheets))
        assert counts(judgement) == (0, 3, 0), findings(judgement)
        (application,) = rows(judgement, "candidatures")
        assert (application["etat"], application["origine"], application["auteur_diagnostic"]) == (
            "accepted", "prescripteur_habilite", "prescripteur",
        )  # fmt: skip
        assert (application["date_candidature"], application["date_embauche"]) == (date(2026, 7, 1), date(2026, 9, 1))
        assert (application["criteres_niveau_1"], application["criteres_niveau_2"]) == (1, 3)
        assert application["civilite"] == "2"
        assert rows(judgement, "postes")[0]["siret_structure"] == "10002002300014"
        assert (rows(judgement, "postes")[0]["recrutements"], rows(judgement, "postes")[0]["candidatures"]) == (0, 6)
        assert rows(judgement, "pass_iae")[0]["date_fin"] is None, "2040-01-01 is no end"

    def test_applications_are_told_apart_from_their_artefacts(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        values = [
            APPLICATION,
            APPLICATION | {"id": UUID + "2", "état": "Candidature déclinée", "motif_de_refus": "auto",
                           "candidature_refusée_automatiquement": "true", "date_début_contrat": ""},
            APPLICATION | {"id": UUID + "3", "candidature_refusée_automatiquement": "true"},
            APPLICATION | {"id": UUID + "4", "origine": "Employeur"},
            APPLICATION | {"id": UUID + "5", "date_début_contrat": ""},
            APPLICATION | {"id": UUID + "6", "Type d'organisation prescripteur": "SPIP",
                           "Identifiant France Travail": "00000000"},
            APPLICATION | {"id": UUID + "7"},
            APPLICATION | {"id": UUID + "7"},
            APPLICATION | {"id": "", "id_candidat": "78"},
            APPLICATION | {"id": UUID + "8", "état": "Rêvée"},
        ]  # fmt: skip
        file = tmp_path / "candidatures.csv"
        file.write_text(table_text(list(APPLICATION), values), encoding="utf-8")
        judgement = judged(registry, lake, "emplois_applications", file)
        assert counts(judgement) == (3, 7, 3), "over a fifth is rejected"
        assert sorted(findings(judgement), key=str) == sorted([
            ("automatic-refusal-contradicted", 4, "refus_automatique, etat, motif_refus"),
            ("sender-contradicts-origin", 5, "envoyee_par_employeur, origine"),
            ("accepted-without-hire", 6, "etat, date_embauche"),
            ("duplicate-key", findings(judgement)[-3][1], "candidature_id"),
            ("required-value", 10, "candidature_id"),
            ("code-error", 11, "etat"),
        ], key=str)  # fmt: skip
        found = {row["candidature_id"][-1]: row for row in rows(judgement, "candidatures")}
        assert found["2"]["refus_automatique"] is True
        assert found["6"]["type_prescripteur"] == "AUTRE", "a kind that would reveal an offence is never kept"
        assert found["6"]["numero_ide"] is None, "a number of eight zeros is nobody's"


class TestSiaeMonthly:
    HEADER = ("Mois;SIRET;N° annexe financière;Nom de naissance;Prénom;Date de naissance;Sexe;Code INSEE;"
              "Date d'embauche;Date de fin;Heures")  # fmt: skip

    def test_hours_take_a_comma_and_sirets_survive_a_spreadsheet(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        person = "MODELE;Camille;21/04/1980;F;8409;01/03/2026;31/12/9999"
        file = text(
            tmp_path / "x.csv", self.HEADER,
            f"2026-09;10002002300014;ACI008260019A0M0;{person};110,5",
            f"09/2026;10002002300014.0;ACI59VXX2010;{person.replace('Camille', 'Dominique')};80",
            f"2026-08;10002002300014;ACI008260019A0M0;{person};100",
            ";;;;;;;;;;",
        )  # fmt: skip
        judgement = judged(registry, lake, "siae_monthly", file)
        assert judgement.account.checked().blank == 1
        assert counts(judgement) == (3, 2, 1)
        first, second = rows(judgement, "salaries")
        assert (first["heures_travaillees"], first["date_fin_contrat"], first["code_commune"]) == (110.5, None, "08409")
        assert (second["siret"], second["mois"]) == ("10002002300014", "2026-09")
        assert second["annexe_numero"] == "ACI59VXX2010", "the Nord numbers its annexes its own way"
        assert ("period-mismatch", 4, "mois") in findings(judgement)


def view(table: ContractTable, *overrides: Mapping[str, str], begin: bool = True, end: bool = True) -> str:
    """A fluxIAE view of as many rows as overrides, the other cells being the contract's examples."""
    fields = [field for field in table.fields if not field.insertion.header_optional or field.insertion.use != "none"]
    lines = ["|".join(field.name for field in fields)]
    lines += ["|".join(row.get(field.name, field.example or "") for field in fields) for row in overrides]
    pipes = "|" * (len(fields) - 1)
    if begin:
        lines.insert(0, f"DEB{table.insertion.member}30092026_120000{pipes}")
    if end:
        lines.append(f"FIN{len(overrides)}{pipes}")
    return "\n".join(lines) + "\n"


class TestFluxiae:
    def test_a_bundle_without_last_lines_loses_nothing(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        tables = {table.name: table for table in tables_of(registry.source("fluxiae"))}
        more: dict[str, list[dict[str, str]]] = {
            "annexe_financiere": [{}, {"af_id_avenant_modification": "4349", "af_etp_postes_insertion": "40.19"}],
            "etat_mensuel_indiv": [{}, {"emi_sme_mois": "8"}, {"emi_sme_mois": "13"}],
        }
        bundle = tmp_path / "fluxIAE_ITOU_20260930_120000.tar.gz"
        with zipfile.ZipFile(bundle, "w") as archive:
            for table in tables.values():
                content = view(table, *more.get(table.name, [{}]), end=table.name != "annexe_financiere")
                archive.writestr(f"fluxIAE_{table.insertion.member}_30092026_120000.csv.gz", content)
        judgement = judged(registry, lake, "fluxiae", bundle)
        assert judgement.conformed is not None, judgement.findings.to_pylist()
        found = {name: accepted.num_rows for name, accepted in judgement.conformed.accepted.items()}
        assert found["annexe_financiere"] == 2, "no FIN line, and the last row is there"
        assert [row["emi_sme_mois"] for row in rows(judgement, "etat_mensuel_indiv")] == [9, 8]
        assert judgement.account.rejected == 1
        assert str(judgement.span) == "2026-08..2026-09"


# -- departments -------------------------------------------------------------------------------------------------------

ORIENTATION = (
    "Orientstruct__id;MATRICULE;CIVILITE;NOM;NOMNAI;PRENOM;DTNAI;ORGANISME_ORIENTATION_REFERENT;"
    "ORGANISME_ORIENTATION_SIRET;NATURE_ORIENTATION;NOM_REFERENT;PRENOM_REFERENT;DATE_DEBUT_ORIENTATION;CIBLE;EMAIL;"
    "TELEPHONE_FIXE;TELEPHONE_PORTABLE;ID_CD"
)


class TestDepartmentPathways:
    def test_an_orientation_export_of_webrsa_is_read(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "Orientation.csv", ORIENTATION,
            "11;2055990;MME;EXEMPLE;MODELE;CAMILLE;1980-04-21;MDS DE CHAUMONT;;Social;SUIVI;Alix;2026-03-15;O;;;;8383",
            "12;2055991;MR;ESSAI;ESSAI;CLAUDE;1979-03-02;FT CHAUMONT;;Emploi;SUIVI;Dominique;2026-09-02;O;;;;8384",
            "13;2055992;MR;TEST;TEST;ALEX;1990-01-05;PLIE;;Socioprofessionnelle;SUIVI;Dominique;2026-09-03;O;;;;8385",
        )  # fmt: skip
        judgement = judged(registry, lake, "department_pathways", file)
        assert counts(judgement) == (0, 3, 0), findings(judgement)
        found = rows(judgement, "parcours")
        assert [row["orientation_type"] for row in found] == ["social", "pro", "socio_pro"]
        assert (found[0]["orientation_date"], found[0]["title"]) == (date(2026, 3, 15), "2")
        assert found[0]["orientation_siret"] is None
        assert "target" not in found[0], "CIBLE is always O"

    def test_both_persons_of_a_household_are_kept(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        """`DISTINCT ON (matricule)` loses one of them: the household's number is nobody's key here."""
        file = text(
            tmp_path / "x.csv", "MATRICULE;Rôle;NOM;PRENOM;DTNAI;NATURE_ORIENTATION;DATE_DEBUT_ORIENTATION",
            "2055990;DEM;EXEMPLE;CAMILLE;21/04/1980;Social;15/03/2026",
            "2055990;CJT;EXEMPLE;DOMINIQUE;02/03/1979;Emploi;15/03/2026",
            "2055990;CJT;EXEMPLE;DOMINIQUE;02/03/1979;Emploi;15/03/2026",
        )  # fmt: skip
        judgement = judged(registry, lake, "department_pathways", file)
        assert counts(judgement) == (1, 3, 0)
        assert [(code, line) for code, line, _ in findings(judgement)] in (
            [("duplicate-key", 3)],
            [("duplicate-key", 4)],
        )

    def test_seven_and_fifteen_characters_are_one_household(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        file = text(
            tmp_path / "x.csv", "MATRICULE;NOM;PRENOM", "2055990;EXEMPLE;CAMILLE", "205599000000000;EXEMPLE;DOMINIQUE",
            "2055990.0;EXEMPLE;ALEX", "20559900000000000;EXEMPLE;CLAUDE",
        )  # fmt: skip
        judgement = judged(registry, lake, "department_pathways", file)
        numbers = [row["affiliation_number"] for row in rows(judgement, "parcours")]
        assert numbers == ["2055990", "205599000000000", "2055990", None]
        assert {canonical_caf_matricule(number) for number in numbers if number} == {"2055990"}
        assert named(judgement) == {"repaired-value", "length-error"}

    def test_psp_is_socio_professional_and_pso_is_social(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        """A sender of webrsa writes PSP for social and PSO for socio-professional: the label tells."""
        file = text(
            tmp_path / "x.csv", "Nom;Prénom;Nature de l'orientation;Code parcours",
            "EXEMPLE;CAMILLE;PSP;PSP", "ESSAI;CLAUDE;PSO;PSO", "TEST;ALEX;Emploi;PED", "TIERS;SACHA;Sociale;PSP",
            "QUART;NOA;Socio-professionnelle;PSO",
        )  # fmt: skip
        judgement = judged(registry, lake, "department_pathways", file)
        found = rows(judgement, "parcours")
        assert [row["orientation_type"] for row in found] == ["socio_pro", "social", "pro", "social", "socio_pro"]
        assert [(code, line) for code, line, _ in findings(judgement)] == [
            ("pathway-code-contradicts-label", 5), ("pathway-code-contradicts-label", 6),
        ]  # fmt: skip

    def test_the_frsa_extract_brings_contracts(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "BENEF_W_2026_09_30__12_00.csv",
            "e_date_extraction;i_identifiant;i_nom_usage;i_nom_naissance;i_prenoms;i_date_nai;i_numcaf;i_sexe;i_role;"
            "adr_codepos;droit_devoir;etat_dossier;cer_datedeb;cer_datefin",
            "2026-10-02;8383;EXEMPLE;MODELE;CAMILLE;1980-04-21;2055990;Femme;Demandeur;52000;true;2;2026-04-02;2026-10-01",
            "2026-10-02;8384;ESSAI;ESSAI;CLAUDE;1979-03-02;2055990;Homme;Conjoint;52000;false;4;2026-10-01;2026-04-02",
        )
        judgement = judged(registry, lake, "department_pathways", file)
        assert counts(judgement) == (1, 2, 0)
        assert findings(judgement) == [("contract-dates-reversed", 3, "cer_start_date, cer_end_date")]
        first, second = rows(judgement, "parcours")
        assert (first["role"], second["role"]) == ("DEM", "CJT")
        assert (first["is_subject_to_rights_and_duties"], second["is_subject_to_rights_and_duties"]) == (True, False)
        assert (first["cer_start_date"], first["cer_end_date"]) == (date(2026, 4, 2), date(2026, 10, 1))

    def test_a_reorientation_says_where_from(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "x.csv", "Nom;Prénom;Organisme référent;Date de réorientation;Organisme précédent",
            "EXEMPLE;CAMILLE;France Travail;10/09/2026;Département", "ESSAI;CLAUDE;CD;10/09/2026;",
        )  # fmt: skip
        judgement = judged(registry, lake, "department_pathways", file)
        assert [(code, line) for code, line, _ in findings(judgement)] == [("reorientation-without-origin", 3)]
        (first, _) = rows(judgement, "parcours")
        bodies = {row["code"]: row for row in registry.nomenclature("orientation_bodies").records(SEPTEMBER)}
        sides = [
            bodies[first[name]]["is_public_employment_service"]
            for name in ("previous_orientation_body", "orientation_body")
        ]
        assert sides == ["0", "1"]


RDV = (
    "Date du RDV;Heure du RDV;Motif du RDV;Nature du RDV;RDV pris en autonomie ?;RDV pris le;Statut du rdv;Référent(s);"
    "Organisation du rendez-vous;Civilité;Nom;Prénom;Numéro CAF;ID interne au département;ID France Travail;Email;"
    "Adresse;CP;Ville;Téléphone;Date de naissance;Date de création;Date d'entrée flux;Rôle;"
    "Rendez-vous prescrit ? (interne);Prénom du prescripteur;Nom du prescripteur;Mail du prescripteur;Tags"
)


def appointment(day: str, hour: str, status: str, person: str = "8383", booked: str = "01/09/2026") -> str:
    return (f"{day};{hour};RSA orientation;individuel;Oui;{booked};{status};;MDS DE CHAUMONT;madame;EXEMPLE;Camille;"
            f"2055990;{person};;;;52000;CHAUMONT;;21/04/1980;05/02/2026;;demandeur;non;;;;BRSA")  # fmt: skip


class TestDepartmentAppointments:
    def test_times_are_written_with_an_h_and_padded_with_a_space(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        file = text(
            tmp_path / "Export_rdvs_x.csv", RDV,
            appointment("18/09/2026", " 9h05", "Rendez-vous honoré"),
            appointment("19/09/2026", "14h30", "Absence non excusée"),
            appointment("20/09/2026", "25h00", "Annulé (par le service)"),
            encoding="utf-8-sig",
        )  # fmt: skip
        judgement = judged(registry, lake, "department_appointments", file)
        assert counts(judgement) == (1, 3, 0)
        assert findings(judgement) == [("pattern-error", 4, "appointment_time")]
        found = rows(judgement, "rendez_vous")
        assert [row["appointment_time"] for row in found] == ["9h05", "14h30", None]
        assert [row["appointment_status"] for row in found] == ["seen", "noshow", "revoked"]
        assert (found[0]["is_self_booked"], found[0]["booked_on"], found[0]["role"]) == (True, date(2026, 9, 1), "DEM")

    def test_two_meetings_of_one_day_are_two_rows(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(tmp_path / "x.csv", RDV, appointment("18/09/2026", " 9h05", "Rendez-vous honoré"),
                    appointment("18/09/2026", "14h30", "Annulé (excusé)"))  # fmt: skip
        judgement = judged(registry, lake, "department_appointments", file)
        assert counts(judgement) == (0, 2, 0), findings(judgement)

    def test_an_outcome_is_known_of_the_past_only(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "x.csv", RDV,
            appointment("05/10/2026", " 9h05", "Rendez-vous honoré"),
            appointment("06/10/2026", " 9h05", "RDV à venir"),
            appointment("07/09/2026", " 9h05", "Statut du RDV à préciser"),
            appointment("08/09/2026", " 9h05", "Rendez-vous honoré", booked="09/09/2026"),
        )  # fmt: skip
        judgement = judged(registry, lake, "department_appointments", file)
        assert [(code, line) for code, line, _ in findings(judgement)] == [
            ("attended-in-the-future", 2), ("outcome-unknown", 4), ("booked-after-appointment", 5),
        ]  # fmt: skip

    def test_not_computable_is_not_an_answer(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "x.csv",
            "Date du RDV;Motif du RDV;Statut du rdv;Nom;Prénom;1er RDV honoré en - de 30 jours ?",
            "18/09/2026;RSA orientation;Rendez-vous honoré;EXEMPLE;Camille;Oui",
            "18/09/2026;RSA orientation;Rendez-vous honoré;ESSAI;Claude;Non calculable",
        )
        judgement = judged(registry, lake, "department_appointments", file)
        assert counts(judgement) == (0, 2, 0), findings(judgement)
        assert [row["seen_within_30_days"] for row in rows(judgement, "rendez_vous")] == [True, None]

    def test_the_two_exports_of_rdv_insertion_are_not_confused(self, registry: Registry, tmp_path: Path) -> None:
        file = text(tmp_path / "x.csv", RDV, appointment("18/09/2026", " 9h05", "Rendez-vous honoré"))
        assert recognised(registry, file) == "department_appointments"
        users = (
            "Civilité;Nom;Prénom;Numéro CAF;ID interne au département;ID France Travail;Email;Adresse;CP;Ville;"
            "Téléphone;Date de naissance;Date de création;Date d'entrée flux;Rôle;Première invitation envoyée le;"
            "Dernière invitation envoyée le;Date du dernier RDV;Statut du rdv;Date d'orientation;"
            "Type d'orientation;Date de début d'accompagnement;Date de fin d'accompagnement;"
            "Structure d'orientation;Référent(s)"
        )
        assert recognised(registry, text(tmp_path / "y.csv", users, ";".join(["x"] * 25))) == "department_list"
        orientations = text(tmp_path / "z.csv", ORIENTATION, ";".join(["x"] * 18))
        assert recognised(registry, orientations) == "department_pathways"


class TestDepartmentList:
    def test_a_line_of_totals_is_no_person_without_a_word(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(tmp_path / "x.csv", "ID interne;Nom;Prénom", "1;EXEMPLE;CAMILLE", "Total : 1;;", ";;")
        judgement = judged(registry, lake, "department_list", file)
        assert counts(judgement) == (1, 2, 0)
        told = [(row["rule"], row["line"]) for row in judgement.findings.to_pylist()]
        assert told == [("name-missing", 3)]

    def test_headers_are_compared_without_accents_breaks_or_number_signs(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        header = ["ID IODAS\t", "Civilité", "Nom bénéficiaire", "Prénom bénéficiaire", "Date de\nNaissance",
                  "N° CAF", "N°\nTéléphones", "Rôle", "NIR", "Type d'orientation", "Adresses\nMails"]  # fmt: skip
        content = [
            header,
            [8383, "mme", "EXEMPLE", "Camille", 29332, 2055990, 601020304, "DEM", float(NIR_13), "PSP", "a@exemple.fr"],
            [8384, "m.", "EXEMPLE", "Claude", "02-03-1979", 2055990, "", "CONJOINT(E)", "", "Sociale", "a@exemple.fr"],
        ]
        judgement = judged(registry, lake, "department_list", workbook(tmp_path / "x.xlsx", {"Feuil1": content}))
        assert judgement.account.rejected == 0
        first, second = rows(judgement, "beneficiaires")
        assert (first["birth_date"], first["nir"], first["title"]) == (date(1980, 4, 21), NIR_13, "2")
        assert (first["orientation_type"], second["orientation_type"]) == ("socio_pro", "social")
        assert (second["role"], second["birth_date"]) == ("CJT", date(1979, 3, 2))
        assert "repaired-value" in named(judgement), "a serial date is repaired, and said"


class TestDepartmentContacts:
    def test_the_contact_file_is_for_linking_only(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "x.csv",
            "MATRICULE;NIR;NUMERO DEMANDE RSA;DATE DEMANDE RSA;DATE DEBUT DROITS - DEVOIRS;NOM RESPONSABLE DOSSIER;"
            "PRENOM RESPONSABLE DOSSIER;ROLE PERSONNE;TYPE PERSONNE;NUMERO TELEPHONE DOSSIER;"
            "NUMERO TELEPHONE 2 DOSSIER;ADRESSE ELECTRONIQUE DOSSIER",
            f"2055990;{NIR_13};1234567890;05/02/2026;05/02/2026;EXEMPLE;CAMILLE;DEM;ALL;0601020304;;a@exemple.fr",
            ";;1234567890;05/02/2026;05/02/2026;;;DEM;ALL;0601020304;;b@exemple.fr",
        )
        judgement = judged(registry, lake, "department_contacts", file)
        assert counts(judgement) == (3, 1, 1)
        assert ("person-unidentified", 3) in [(code, line) for code, line, _ in findings(judgement)]
        assert rows(judgement, "contacts")[0]["nir"] == NIR_13


FLOW = """<?xml version="1.0" encoding="windows-1252"?>
<BeneficiairesRSA>
<IdentificationFlux><APPLIEME>CRI</APPLIEME><NUMVERSIONAPPLIEME>6200</NUMVERSIONAPPLIEME><TYPEFLUX>M</TYPEFLUX>
<NATFLUX>B</NATFLUX><DTCREAFLUX>2026-10-05</DTCREAFLUX><HEUCREAFLUX>01:18:36.0000</HEUCREAFLUX>
<DTREF>2026-09-30</DTREF></IdentificationFlux>
<InfosFoyerRSA><IdentificationRSA><Organisme><FONORG>CAF</FONORG><NUMORG>521</NUMORG>
<MATRICULE>205599000000000</MATRICULE></Organisme><Partenaire><TYPEPARTE>CG  </TYPEPARTE><IDEPARTE>052</IDEPARTE>
</Partenaire><DemandeRSA><DTDEMRSA>2026-02-05</DTDEMRSA><NUMDEMRSA>01024041052</NUMDEMRSA></DemandeRSA>
</IdentificationRSA><PrestationRSA><SituationDossierRSA><EtatDossierRSA><ETATDOSRSA>2</ETATDOSRSA></EtatDossierRSA>
</SituationDossierRSA></PrestationRSA>
<Personne><Identification><NOM>EXEMPLE</NOM><NOMNAI>MOD&#200;LE</NOMNAI><PRENOM>CAMILLE</PRENOM>
<DTNAI>1980-04-21</DTNAI><NIR>2800452121001</NIR><SEXE>2</SEXE></Identification>
<Prestations><NATPREST>PFA</NATPREST><ROLEPERS>CJT</ROLEPERS></Prestations>
<Prestations><NATPREST>RSA</NATPREST><ROLEPERS>DEM</ROLEPERS></Prestations>
<MontantCalculDroitRSAPersonne><TOPPERSDRODEVORSA>1</TOPPERSDRODEVORSA></MontantCalculDroitRSAPersonne></Personne>
<Personne><Identification><NOM>EXEMPLE</NOM><NOMNAI>EXEMPLE</NOMNAI><PRENOM>NO\xcb</PRENOM>
<DTNAI>2020-01-05</DTNAI><SEXE>1</SEXE></Identification>
<Prestations><NATPREST>RSA</NATPREST><ROLEPERS>ENF</ROLEPERS></Prestations></Personne></InfosFoyerRSA>
<TransmissionFlux><NBTOTDOSRSATRANSM>{announced}</NBTOTDOSRSATRANSM><NBTOTDOSRSATRANSMANO>0</NBTOTDOSRSATRANSMANO>
</TransmissionFlux>
</BeneficiairesRSA>
"""


def written(folder: Path, flow: str) -> Path:
    path = folder / "RSABEM.xml"
    path.write_bytes(flow.encode("cp1252"))
    return path


RIGHT_SUSPENDED = "<SuspensionDroit><MOTISUSDRORSA>DD</MOTISUSDRORSA></SuspensionDroit>"
PAYMENT_SUSPENDED = "<SuspensionVersement><MOTISUSVERSRSA>02</MOTISUSVERSRSA></SuspensionVersement>"
CLOSED = "<FinDroit><MOTICLORSA>RFD</MOTICLORSA><DTCLORSA>2026-09-10</DTCLORSA></FinDroit>"


class TestCnafFlow:
    def test_the_month_is_that_of_the_reference_date(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = tmp_path / "RSABEM.xml"
        file.write_bytes(FLOW.format(announced=1).encode("cp1252"))
        judgement = judged(registry, lake, "cnaf_vrsb0801", file, month=None)
        assert (judgement.month, counts(judgement)) == (SEPTEMBER, (0, 2, 0)), findings(judgement)
        adult, child = rows(judgement, "personnes")
        assert (adult["rolepers"], child["rolepers"]) == ("DEM", "ENF"), "the role at the RSA, not at family benefits"
        assert (adult["nir"], child["nir"]) == (NIR_13, None), "a child without a number stops nothing"
        assert (adult["nomnai"], child["prenom"]) == ("MODÈLE", "NOË")
        assert {row["etatdosrsa"] for row in (adult, child)} == {"2"}
        assert canonical_caf_matricule(adult["matricule"]) == "2055990"

    def test_the_flows_of_both_payers_in_one_archive_are_one_delivery(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        flow = FLOW.format(announced=1)
        file = tmp_path / "flux.zip"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("RSABEM_CAF.xml", flow.encode("cp1252"))
            archive.writestr("RSABEM_MSA.xml", flow.replace("<FONORG>CAF", "<FONORG>MSA").encode("cp1252"))
        judgement = judged(registry, lake, "cnaf_vrsb0801", file, month=None)
        assert (judgement.month, counts(judgement)) == (SEPTEMBER, (0, 4, 0)), findings(judgement)
        assert [row["fonorg"] for row in rows(judgement, "personnes")] == ["CAF", "CAF", "MSA", "MSA"]

    def test_a_household_that_is_missing_refuses_the_flow(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = tmp_path / "RSABEM.xml"
        file.write_bytes(FLOW.format(announced=2).encode("cp1252"))
        judgement = judged(registry, lake, "cnaf_vrsb0801", file, month=None)
        assert judgement.verdict == 3
        assert "control-total" in named(judgement)

    @pytest.mark.parametrize(
        ("state", "elements", "expected"),
        [
            ("2", "", set()),
            ("3", RIGHT_SUSPENDED, set()),
            ("4", PAYMENT_SUSPENDED, set()),
            ("4", "", {"suspended-without-reason"}),
            ("2", RIGHT_SUSPENDED, {"suspension-contradicts-state"}),
            ("5", RIGHT_SUSPENDED + CLOSED, set()),
            ("2", CLOSED, {"closing-contradicts-state"}),
            ("5", "", {"closed-without-reason"}),
        ],
    )
    def test_the_state_decides_whatever_elements_stand_beside_it(
        self, registry: Registry, lake: Lake, tmp_path: Path, state: str, elements: str, expected: set[str]
    ) -> None:
        """Suspended and closed elements stand together in real flows: one order of precedence, and what is odd said."""
        flow = FLOW.format(announced=1).replace(
            "<ETATDOSRSA>2</ETATDOSRSA></EtatDossierRSA>",
            f"<ETATDOSRSA>{state}</ETATDOSRSA></EtatDossierRSA>{elements}",
        )
        file = tmp_path / "RSABEM.xml"
        file.write_bytes(flow.encode("cp1252"))
        judgement = judged(registry, lake, "cnaf_vrsb0801", file, month=None)
        assert counts(judgement)[1:] == (2, 0), "nothing of it rejects anybody"
        assert {row["etatdosrsa"] for row in rows(judgement, "personnes")} == {state}
        assert named(judgement) == expected

    def test_a_dossier_without_a_state_is_said_and_no_other_element_takes_its_place(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        flow = FLOW.format(announced=1).replace(
            "<EtatDossierRSA><ETATDOSRSA>2</ETATDOSRSA></EtatDossierRSA>", RIGHT_SUSPENDED + CLOSED
        )
        judgement = judged(registry, lake, "cnaf_vrsb0801", written(tmp_path, flow), month=None)
        assert counts(judgement)[1:] == (2, 0)
        assert ("required-value", "etatdosrsa") in {
            (row["code"], row["field"]) for row in judgement.findings.to_pylist()
        }
        assert {(row["etatdosrsa"], row["moticlorsa"]) for row in rows(judgement, "personnes")} == {(None, "RFD")}

    @pytest.mark.parametrize(
        ("state", "child", "persons", "expected"),
        [
            ("", "", [], []),
            ("<NBENFAUTCHA>1</NBENFAUTCHA>", "<TOPCHAPERS>1</TOPCHAPERS>", [], []),
            ("<NBENFAUTCHA>01</NBENFAUTCHA>", "<TOPCHAPERS>true</TOPCHAPERS>", [], []),
            ("<NBENFAUTCHA>3</NBENFAUTCHA>", "<TOPCHAPERS>1</TOPCHAPERS>", [],
             [("household-dependants", "nbenfautcha", "foyer : 3 ; personnes : 1")]),
            ("<NBENFAUTCHA>1</NBENFAUTCHA>", "<TOPCHAPERS>0</TOPCHAPERS>", [],
             [("household-dependants", "nbenfautcha", "foyer : 1 ; personnes : 0")]),
            ("<MTRESSMENRSA>0000850.50</MTRESSMENRSA>", "", ["800.00", "50.50"], []),
            ("<MTRESSMENRSA>0000850.50</MTRESSMENRSA>", "", ["800.00", "50.49"], []),
            ("<MTRESSMENRSA>0000850.50</MTRESSMENRSA>", "", ["800.00", "5.50"],
             [("household-resources", "", "foyer : 850,50 ; personnes : 805,50")]),
            ("<MTRESSMENRSA>0000850.50</MTRESSMENRSA>", "", [], []),
        ],
    )  # fmt: skip
    def test_what_a_household_states_of_its_persons_is_compared_with_them(
        self, registry: Registry, lake: Lake, tmp_path: Path, state: str, child: str, persons: list[str],
        expected: list[tuple[str, str, str]],
    ) -> None:  # fmt: skip
        """Nothing is said of what is not stated; amounts are rounded person by person, and none is kept."""
        amount = "MontantsCalculDroitRSA" if "MT" in state else "TroncCommunDroitRSA"
        flow = FLOW.format(announced=1).replace(
            "</SituationDossierRSA></PrestationRSA>",
            f"</SituationDossierRSA><DetailDroitRSA><{amount}>{state}</{amount}></DetailDroitRSA></PrestationRSA>",
        )
        flow = flow.replace("<ROLEPERS>ENF</ROLEPERS>", f"<ROLEPERS>ENF</ROLEPERS>{child}")
        if persons:
            of_adult, of_child = (f"<MTPERSRESSMENRSA>{one}</MTPERSRESSMENRSA>" for one in persons)
            flow = flow.replace("</TOPPERSDRODEVORSA>", f"</TOPPERSDRODEVORSA>{of_adult}")
            flow = flow.replace(
                "</Prestations></Personne></InfosFoyerRSA>",
                f"</Prestations><MontantCalculDroitRSAPersonne>{of_child}</MontantCalculDroitRSAPersonne></Personne>"
                "</InfosFoyerRSA>",
            )
        judgement = judged(registry, lake, "cnaf_vrsb0801", written(tmp_path, flow), month=None)
        told = [one for one in judgement.findings.to_pylist() if one["code"] == "control-total"]
        assert [(one["rule"], one["field"], one["value"]) for one in told] == expected
        assert all((one["line"], one["severity"]) == (1, "warning") for one in told), "the household's first person"
        assert counts(judgement)[1:] == (2, 0)
        assert not {"mtressmenrsa", "mtpersressmenrsa"} & set(rows(judgement, "personnes")[0])

    def test_each_household_is_compared_with_its_own_persons(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        """Planted in the second and the fourth of five: those two are found, at their own first persons."""
        one = FLOW[FLOW.index("<InfosFoyerRSA>") : FLOW.index("<TransmissionFlux>")]
        one = one.replace("<ROLEPERS>ENF</ROLEPERS>", "<ROLEPERS>ENF</ROLEPERS><TOPCHAPERS>1</TOPCHAPERS>").replace(
            "</SituationDossierRSA></PrestationRSA>",
            "</SituationDossierRSA><DetailDroitRSA><TroncCommunDroitRSA><NBENFAUTCHA>{}</NBENFAUTCHA>"
            "</TroncCommunDroitRSA></DetailDroitRSA></PrestationRSA>",
        )
        households = [
            one.replace("{}", "2" if number in (1, 3) else "1").replace("205599", f"{number}05599")
            for number in range(5)
        ]  # fmt: skip
        flow = FLOW.replace(FLOW[FLOW.index("<InfosFoyerRSA>") : FLOW.index("<TransmissionFlux>")], "".join(households))
        judgement = judged(registry, lake, "cnaf_vrsb0801", written(tmp_path, flow.format(announced=5)), month=None)
        told = [(row["line"], row["value"]) for row in judgement.findings.to_pylist() if row["code"] == "control-total"]
        assert told == [(3, "foyer : 2 ; personnes : 1"), (7, "foyer : 2 ; personnes : 1")]
        assert counts(judgement) == (1, 10, 0)

    @pytest.mark.parametrize(
        ("announced", "anomalies", "verdict", "said"),
        [
            (1, 0, 0, []),
            (3, 2, 1, ["Le flux annonce 2 dossiers en anomalie et en contient 0."]),
            (4, 2, 3, ["Le flux annonce 4 dossiers et en contient 1.",
                       "Le flux annonce 2 dossiers en anomalie et en contient 0."]),
        ],
    )  # fmt: skip
    def test_dossiers_sent_apart_as_anomalies_are_missing_and_said(
        self, registry: Registry, lake: Lake, tmp_path: Path, announced: int, anomalies: int, verdict: int,
        said: list[str],
    ) -> None:  # fmt: skip
        flow = FLOW.format(announced=announced).replace("MANO>0<", f"MANO>{anomalies:08d}<")
        judgement = judged(registry, lake, "cnaf_vrsb0801", written(tmp_path, flow), month=None)
        told = [row["message"] for row in judgement.findings.to_pylist() if row["code"] == "control-total"]
        assert (judgement.verdict, told) == (verdict, said)

    def test_a_household_of_nobody_is_said(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        empty = "<InfosFoyerRSA><PrestationRSA/></InfosFoyerRSA>"
        flow = FLOW.format(announced=3).replace("<TransmissionFlux>", f"{empty}{empty}<TransmissionFlux>")
        judgement = judged(registry, lake, "cnaf_vrsb0801", written(tmp_path, flow), month=None)
        assert [(row["message"], row["count"]) for row in judgement.findings.to_pylist()] == [
            ("Des foyers du flux ne contiennent aucune personne.", 2)
        ]

    def test_the_current_address_is_that_of_rank_one_wherever_it_stands(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        def address(rank: str, commune: str) -> str:
            return (
                f"<Adresse><TroncCommunAdresse><RGADR>{rank}</RGADR></TroncCommunAdresse><AdresseDetailleeFrance>"
                f"<NUMVOIE>{rank}</NUMVOIE><NUMCOM>{commune}</NUMCOM></AdresseDetailleeFrance></Adresse>"
            )

        known = "".join(address(*one) for one in (("03", "08105"), ("01", "52448"), ("02", "54395")))
        flow = FLOW.format(announced=1).replace(
            "</InfosFoyerRSA>", f"<DonneesAdministratives>{known}</DonneesAdministratives></InfosFoyerRSA>"
        )
        judgement = judged(registry, lake, "cnaf_vrsb0801", written(tmp_path, flow), month=None)
        assert {(row["numcom"], row["numvoie"]) for row in rows(judgement, "personnes")} == {("52448", "01")}

    def test_another_department_is_refused(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = tmp_path / "RSABEM.xml"
        file.write_bytes(FLOW.format(announced=1).encode("cp1252"))
        judgement = judged(registry, lake, "cnaf_vrsb0801", file, month=None, territory_code="FR-DEP-08")
        assert (judgement.verdict, "wrong-partner" in named(judgement)) == (3, True)


# -- employment services -----------------------------------------------------------------------------------------------

MOVEMENTS = "nir;identifiantpe;nom;prenom;dtnai;date;code;motif;nir2;codeinsee;localite;adresse;ale"
REGISTERED = MOVEMENTS.replace("motif;", "")


def registered(
    nir: str = NIR_13, again: str | None = None, number: str = "1234567A051", day: str = "05/09/2026"
) -> str:
    return f"{nir};{number};EXEMPLE;CAMILLE;21/04/1980;{day};1;{nir if again is None else again};52121;CHAUMONT;;52010"


class TestRegistrations:
    def four(self, folder: Path) -> list[Path]:
        left = registered().replace(";1;", ";71;ENTREE EN STAGE;")
        return [
            text(folder / "inscriptions.csv", REGISTERED, registered()),
            text(folder / "cessations.csv", MOVEMENTS, left),
            text(folder / "FT52_RADIATIONS_202609.csv", MOVEMENTS, left, left.replace("CAMILLE", "CLAUDE")),
            text(folder / "stock.csv", REGISTERED, registered(day="17/10/2025"), registered(day="18/10/2025")),
        ]

    def test_the_four_files_are_told_apart_by_their_names(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        judgement = judged(registry, lake, "ft_registrations", self.four(tmp_path))
        assert counts(judgement) == (0, 6, 0), findings(judgement)
        found = {name: len(rows(judgement, name)) for name in ("inscriptions", "cessations", "radiations", "stock")}
        assert found == {"inscriptions": 1, "cessations": 1, "radiations": 2, "stock": 2}
        assert rows(judgement, "cessations")[0]["motif"] == "ENTREE EN STAGE"

    def test_the_names_may_be_those_of_an_archive_or_of_sheets(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        archive = tmp_path / "lot.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            for path in self.four(tmp_path):
                packed.write(path, f"2026/{path.name}")
        sheets = {name: [REGISTERED.split(";"), registered().split(";")] for name in ("Stock", "Inscriptions")}
        for delivery, expected in (
            (archive, {"cessations", "inscriptions", "radiations", "stock"}),
            (workbook(tmp_path / "x.xlsx", sheets), {"inscriptions", "stock"}),
        ):
            reading = read(delivery, registry.source("ft_registrations"), month=SEPTEMBER)
            assert set(reading.tables) == expected
            assert not [finding for finding in reading.findings if finding.code == "unnamed-table"]

    def test_a_name_that_says_nothing_is_said(self, registry: Registry, tmp_path: Path) -> None:
        reading = read(text(tmp_path / "ft.csv", REGISTERED, registered()), registry.source("ft_registrations"))
        assert [finding.code for finding in reading.findings] == ["unnamed-table"]

    def test_bytes_that_lost_their_names_are_read_again_as_they_were(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        known = delivering(registry, "ft_registrations")
        receipt = deliver(self.four(tmp_path), "essai", "ft_registrations", SEPTEMBER, known, lake).receipt
        before = deliveries.ensure(lake, known, receipt)
        kept = {path.name for path in before.iterdir()}
        (before / "summary.json").unlink()
        for name in kept - {"summary.json"}:
            (before / name).unlink()
        assert {path.name for path in deliveries.ensure(lake, known, receipt).iterdir()} == kept
        assert receipt.rows == {"cessations": 1, "inscriptions": 1, "radiations": 2, "stock": 2}

    def test_the_number_that_is_sent_twice_must_match(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(tmp_path / "stock.csv", REGISTERED, *[registered() for _ in range(9)],
                    registered(again=OTHER_NIR_13))  # fmt: skip
        judgement = judged(registry, lake, "ft_registrations", file)
        assert counts(judgement)[1:] == (9, 1)
        assert ("numbers-differ", 11, "nir, nir2") in findings(judgement)

    def test_an_invalid_number_is_forgotten_and_its_row_kept(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        spaced = f"{NIR_13[:1]} {NIR_13[1:3]} {NIR_13[3:5]} {NIR_13[5:]}"
        file = text(tmp_path / "stock.csv", REGISTERED, registered(nir="28004"), registered(spaced, NIR_13),
                    registered(number="1234567A"))  # fmt: skip
        judgement = judged(registry, lake, "ft_registrations", file)
        found = rows(judgement, "stock")
        assert [row["nir"] for row in found] == [None, NIR_13, NIR_13]
        assert [row["identifiantpe"] for row in found] == ["1234567A051", "1234567A051", None], "eleven characters here"
        assert canonical_france_travail_id("1234567A051") is not None

    def test_a_partner_without_the_right_to_numbers_keeps_neither(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        judgement = judged(registry, lake, "ft_registrations", text(tmp_path / "stock.csv", REGISTERED, registered()),
                           nir="forbidden")  # fmt: skip
        assert NIR_13 not in str((rows(judgement, "stock"), judgement.findings.to_pylist()))
        assert judgement.account.accepted == 1


class TestSpie:
    def test_null_is_written_out_and_dates_carry_a_time(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "spie.csv",
            "identifiant_unique_de;civilite;nom;prenom;date_naissance;mrech.axetravailprincipal;inscription;rome_1;"
            "categorie_inscription;suivi_fin_prev;dif_logement;brsa",
            f"{UUID}1;MME;EXEMPLE;CAMILLE;1980-04-21 00:00:00.0;NULL;2025-10-17 00:00:00.0;FAKE;1;"
            "9999-12-31 00:00:00.0;O;OUI",
            f"{UUID}2;M;ESSAI;CLAUDE;1979-03-02 00:00:00.0;RETOUR;2026-01-05 00:00:00.0;K2204;9;NULL;NULL;N",
        )
        judgement = judged(registry, lake, "ft_spie", file)
        assert counts(judgement) == (1, 2, 0)
        assert findings(judgement) == [("code-error", 3, "categorie_inscription")]
        first, second = rows(judgement, "demandeurs")
        assert (first["date_naissance"], first["inscription"]) == (date(1980, 4, 21), date(2025, 10, 17))
        assert (first["rome_1"], first["suivi_fin_prev"], first["mrech_axetravailprincipal"]) == (None, None, None)
        assert (first["brsa"], second["brsa"], second["dif_logement"]) == (True, False, None)


class TestActions:
    def test_actions_name_persons_of_the_spie_extract(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "actions.csv",
            "identifiant_unique_de;codeaction;lblaction;objectif_formation;date_prescription;date_realisation_action;"
            "date_prev_debut;date_debut;date_fin;formation;adr.dc_commune_id",
            f"{UUID}1;A23;UNE FORMATION;Certification;2026-06-02 00:00:00.0;NULL;2026-09-01 00:00:00.0;"
            "2026-09-01 00:00:00.0;2040-01-01 00:00:00.0;BATIMENT;52121",
            f"{UUID}2;A11;UN ATELIER;NULL;2026-06-02 00:00:00.0;2026-05-02 00:00:00.0;NULL;NULL;NULL;NULL;1001",
        )
        judgement = judged(registry, lake, "ft_actions", file)
        first, second = rows(judgement, "actions")
        assert (first["date_debut"], first["date_fin"], first["formation"]) == (date(2026, 9, 1), None, "BATIMENT")
        assert second["adr_dc_commune_id"] == "01001", "the lost zero is put back"
        assert named(judgement) == {"done-before-prescribed", "repaired-value"}
        assert {table.insertion.local_person_source for table in tables_of(registry.source("ft_actions"))} == {
            "ft_spie"
        }

    def test_an_action_is_of_the_person_that_the_extract_describes(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        both = delivering(registry, "ft_spie", sources=("ft_spie", "ft_actions"))
        spie = text(
            tmp_path / "spie.csv",
            "identifiant_unique_de;civilite;nom;prenom;date_naissance;inscription;categorie_inscription;brsa",
            f"{UUID}1;MME;EXEMPLE;CAMILLE;1980-04-21 00:00:00.0;2025-10-17 00:00:00.0;1;O",
        )
        actions = text(
            tmp_path / "actions.csv", "identifiant_unique_de;codeaction;lblaction",
            f"{UUID}1;A23;UN ATELIER", f"{UUID}1;A24;UN BILAN", f"{UUID}2;A23;UN ATELIER",
        )  # fmt: skip
        for source, file in (("ft_spie", spie), ("ft_actions", actions)):
            assert deliver(file, "essai", source, SEPTEMBER, both, lake).receipt.status == "applied"
        resolution = resolve(lake, both, [SEPTEMBER])
        for source in ("ft_spie", "ft_actions"):
            pseudonymise(lake, both, resolution, source, SEPTEMBER)
        (person,) = lake.read_parquet(pseudonymised_file(lake, "ft_spie", "demandeurs", SEPTEMBER))[
            "person"
        ].to_pylist()
        found = lake.read_parquet(pseudonymised_file(lake, "ft_actions", "actions", SEPTEMBER)).to_pylist()
        assert [row["person"] == person for row in found] == [True, True, False]
        assert found[2]["person"], "a person that nobody describes is still one"
        assert [row["person_sex"] for row in found] == ["2", "2", None]
        assert UUID not in str(found)

    def test_trainings_end_before_they_have_an_outcome(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "formations.csv",
            "identifiant_unique_de;Formacode;Objectif;Financeur;Date d'entrée;Date de sortie;Heures;Issue;"
            "En emploi à six mois",
            f"{UUID}1;22054;Certification;Région;01/09/2025;18/12/2025;420,5;Certifiée;oui",
            f"{UUID}1;22055;Préqualification;France Travail;01/09/2026;;120;Terminée;",
        )
        judgement = judged(registry, lake, "ft_actions", file)
        assert counts(judgement) == (1, 2, 0)
        assert [(code, line) for code, line, _ in findings(judgement)] == [("outcome-before-end", 3)]
        first, second = rows(judgement, "formations")
        assert (first["financeur"], first["heures"], first["emploi_6_mois"]) == ("REGION", 420.5, True)
        assert second["emploi_6_mois"] is None, "what was not observed is unknown"


PAIRS = (
    ("numerique", "numeriq"), ("mobilite", "mobilite"), ("familiale", "famille"), ("sante", "sante"),
    ("savoir", "savoir"), ("logement", "logement"), ("financiere", "finance"), ("admin_jurid", "adminjur"),
)  # fmt: skip
DIAGNOSIS = {
    "mois_statistique": "202609", "c_territoire_id": "CLPE52001", "c_lblterritoire": "Chaumont", "dptres": "52",
    "regres": "44", "categorie_statistique": "A", "tranche_anciennete": "12 à 23 mois", "top_qpv": "N",
    "top_zrr": "O", "top_boe": "N", "top_rsa": "O", "tranche_age": "25-49 ans", "niveau_de_formation": "NV5",
    "sexe": "F", "situation_de_famille": "CELIBATAIRE", "nombre_enfants_a_charge": "1",
    "structure_accompagnement": "", "parcours_accompagnement": "SUIVI", "defm": "12",
    **{name: value for count, impact in PAIRS
       for name, value in ((f"contrainte_{count}", "0"), (f"c_impactcontrainte_{impact}_id", "YYYY"))},
    "contrainte_mobilite": "7", "c_impactcontrainte_mobilite_id": "MOYEN", "contrainte_numerique": "2",
    "c_impactcontrainte_numeriq_id": "NON_RENSEIGNE", "n_nbcontraintesactives": "2.0", "diag": "O",
}  # fmt: skip


class TestDiagnosis:
    def read(self, folder: Path, *changes: Mapping[str, str]) -> Path:
        file = folder / "diag.csv"
        file.write_text(table_text(list(DIAGNOSIS), [{**DIAGNOSIS, **change} for change in changes]), encoding="utf-8")
        return file

    def test_the_two_columns_of_a_constraint_are_named_differently(
        self, registry: Registry, lake: Lake, tmp_path: Path
    ) -> None:
        judgement = judged(registry, lake, "ft_diagnosis", self.read(tmp_path, {}), month=None)
        assert (judgement.month, counts(judgement)) == (SEPTEMBER, (1, 1, 0))
        assert findings(judgement) == [("repaired-value", 2, "n_nbcontraintesactives")]
        (row,) = rows(judgement, "diagnostics")
        assert (row["contrainte_numerique"], row["c_impactcontrainte_numeriq_id"]) == (2, "NON_RENSEIGNE")
        assert (row["contrainte_mobilite"], row["c_impactcontrainte_mobilite_id"]) == (7, "MOYEN")
        assert row["c_impactcontrainte_finance_id"] is None, "YYYY is written for nothing"
        assert (row["defm"], row["n_nbcontraintesactives"], row["diag"], row["sexe"]) == (12, 2, True, "2")
        assert {f"c_impactcontrainte_{impact}_id" for _, impact in PAIRS} <= set(row)
        assert "structure_accompagnement" not in row

    def test_a_crossing_stands_once(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = self.read(
            tmp_path,
            {},
            {"sexe": "M"},
            {"top_boe": "O", "categorie_statistique": "G"},
            {"sexe": "M", "defm": "3"},
            {"defm": "5"},
            {"c_territoire_id": "CLPE52002", "n_nbcontraintesactives": "0"},
        )
        judgement = judged(registry, lake, "ft_diagnosis", file)
        assert counts(judgement)[1:] == (4, 2)
        assert sum(row["defm"] for row in rows(judgement, "diagnostics")) == 5 + 3 + 12 + 12
        assert named(judgement) >= {"duplicate-key", "constraints-exceed-persons", "constraints-without-count"}
        assert "G" in {row["categorie_statistique"] for row in rows(judgement, "diagnostics")}

    def test_categories_f_and_g_begin_in_2025(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = self.read(tmp_path, {"categorie_statistique": "G", "mois_statistique": "202412"})
        judgement = judged(registry, lake, "ft_diagnosis", file, month=Month(2024, 12))
        assert ("code-error", 2, "categorie_statistique") in findings(judgement)

    def test_another_month_than_the_content_is_refused(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        judgement = judged(registry, lake, "ft_diagnosis", self.read(tmp_path, {}), month=Month(2026, 8))
        assert (judgement.verdict, "period-mismatch" in named(judgement)) == (3, True)


class TestOutcomes:
    def test_counts_after_an_exit_by_months(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        file = text(
            tmp_path / "x.csv",
            "Sortie en IAE;Sorties en emploi;Type de SIAE;Zone d'emploi;Sexe;Nbre personne en emploi;"
            "Nbre personne sans emploi;Taux personnes en emploi;Nbre de jours médian travaillés;Nbre contrats médian",
            "2025-T2;3 mois;ACI;4404;Femmes;45;55;45,0;62;1",
            "2025-T2;12 mois;SIAE_NEUTRE;ZE_NEUTRE;Hommes;2;2;50,0;10;1",
            "2025-T2;6;ACI;051;Femmes;45;55;30;62;1",
            "2025-T2;9 mois;ACI;4404;Femmes;45;55;45,0;62;1",
        )
        judgement = judged(registry, lake, "dsn_outcomes", file)
        assert counts(judgement) == (3, 3, 1)
        found = rows(judgement, "sorties")
        assert [row["mois_apres_sortie"] for row in found] == [3, 12, 6]
        assert [row["zone_emploi"] for row in found] == ["4404", "ZE_NEUTRE", "0051"]
        assert {(code, line) for code, line, _ in findings(judgement)} >= {
            ("cell-below-threshold", 3), ("rate-contradicts-counts", 4),
        }  # fmt: skip


class TestForem:
    def test_categories_are_those_of_the_forem(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        header = (
            "mois;niss;numero_forem;nom;prenom;date_naissance;sexe;code_postal;commune_ins;categorie;cpas;"
            "date_inscription"
        )
        assert {comparable(name) for name in header.split(";")} <= {
            comparable(field.name)
            for field in registry.source("forem_jobseekers").table("demandeurs", SEPTEMBER).fields
        }
        file = text(
            tmp_path / "x.csv", header,
            "2026-09;;F1;EXEMPLE;Camille;21/04/1980;F;6000;52011;DEDA;N;03/02/2026",
            f"2026-09;{NIR_13};F2;ESSAI;Claude;02/03/1979;M;6000;52011;A;O;03/02/2026",
        )  # fmt: skip
        judgement = judged(registry, lake, "forem_jobseekers", file)
        found = {(row["code"], row["line"], row["field"]) for row in judgement.findings.to_pylist()}
        assert {("code-error", 3, "categorie"), ("foreign-number", 3, "niss")} <= found
        assert rows(judgement, "demandeurs")[0]["categorie"] == "DEDA"


class TestAle:
    def test_services_and_requests_are_two_tables(self, registry: Registry, lake: Lake, tmp_path: Path) -> None:
        worker = [
            "2026-09",
            "ALE-52011",
            "MODELE",
            "Camille",
            "21/04/1980",
            "52011",
            "DEDA",
            "particulier",
            "Jardin",
            22.5,
        ]
        sheets = {
            "Prestations": [
                ["mois", "ALE", "nom", "prenom", "Né(e) le", "Code INS", "statut", "Utilisateur", "activite", "heures"],
                worker, [*worker[:-2], "Garde", 160],
            ],
            "Demandes": [["mois", "ALE", "Utilisateur", "activite", "heures_demandees", "heures_prestees"],
                         ["2026-09", "ALE-52011", "ASBL", "Jardin", 120, 96.5],
                         ["2026-09", "ALE-52011", "École", "Garde", 10, 12]],
        }  # fmt: skip
        judgement = judged(registry, lake, "ale_activity", workbook(tmp_path / "x.xlsx", sheets))
        assert judgement.account.accepted == 4
        assert sum(row["heures"] for row in rows(judgement, "prestations")) == 182.5
        assert [row["type_utilisateur"] for row in rows(judgement, "demandes")] == ["association", "enseignement"]
        assert {"monthly-cap-exceeded", "served-above-requested"} <= named(judgement)


def test_no_line_of_a_contract_says_a_person(registry: Registry) -> None:
    """Examples are made up: no example is a number with a valid key."""
    for source in registry.sources.values():
        for table in tables_of(source):
            for field in table.fields:
                if field.insertion.identifier is not None:
                    assert not re.fullmatch(r"[0-9AB]{13,15}", field.example or ""), (source.name, field.name)
