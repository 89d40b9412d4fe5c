"""Standardisation: canonical person records as text become traits that can be compared.

Belongs here: folding of scripts and accents, tokens of names, birth dates with their precision, communes, e-mail and
telephone, placeholders, the canonical form of numbers (`identifiers`), and the collapse of records whose traits are all
the same into one *node*. Does not belong here: comparing two nodes (`linkage`).

Everything is set-based SQL; a name is folded once however many records bear it.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from insertion_pipeline.identity.identifiers import SQL_MACROS

#: The canonical person record: what partners' tables become before anybody is recognised. All text.
PERSON_COLUMNS = (
    "person_space", "partner_family", "partner", "nir", "niss", "france_travail_id", "caf_matricule", "caf_role",
    "department_person_id", "birth_name", "used_name", "first_names", "sex", "birth_date", "birth_place_code",
    "birth_place_name", "address", "postal_code", "residence_code", "email", "phone",
)  # fmt: skip
PERSON_SCHEMA = pa.schema([("record_id", pa.string()), *((name, pa.string()) for name in PERSON_COLUMNS)])

#: Words that fill a mandatory name field where nobody knew the name.
_PLACEHOLDER_NAMES = (
    "INCONNU", "INCONNUE", "SANSNOM", "SANSPRENOM", "NONRENSEIGNE", "NONRENSEIGNEE", "NONCOMMUNIQUE", "ARENSEIGNER",
    "ANONYME", "NEANT", "NULL", "NONE", "NAN", "NC", "ND", "NR", "X", "XX", "XXX", "XXXX", "TEST",
)  # fmt: skip
#: « Mme », « M. », « 2 », « homme »: what sources write where the canonical record has 1 or 2.
SEX_MACRO = """
CREATE OR REPLACE TEMP MACRO canonical_sex(text) AS CASE
    WHEN regexp_replace(upper(strip_accents(text)), '[^0-9A-Z]', '', 'g')
        IN ('1', 'M', 'MR', 'MONSIEUR', 'H', 'HOMME', 'MASCULIN') THEN '1'
    WHEN regexp_replace(upper(strip_accents(text)), '[^0-9A-Z]', '', 'g')
        IN ('2', 'MME', 'MLLE', 'MADAME', 'MADEMOISELLE', 'F', 'FEMME', 'FEMININ') THEN '2'
END
"""

#: Births before this year are fillers of a mandatory field (0001, 1900, 1901), not persons in working life.
_FIRST_BIRTH_YEAR = 1905

_NAMES = f"""
CREATE OR REPLACE TEMP TABLE names AS
WITH written AS (
    SELECT DISTINCT unnest([birth_name, used_name, first_names]) AS written FROM canonical
), folded AS (
    SELECT written, upper(coalesce(ascii, strip_accents(written))) AS plain
    FROM written LEFT JOIN transliterated USING (written)
    WHERE written IS NOT NULL
), spoken AS (
    SELECT written, regexp_replace(plain, '[^A-Z]+', '', 'g') AS compact,
        string_split(trim(regexp_replace(plain, '[^A-Z]+', ' ', 'g')), ' ') AS parts,
        string_split(trim(regexp_replace(regexp_replace(plain, '[-'']', '', 'g'), '[^A-Z]+', ' ', 'g')), ' ') AS tokens
    FROM folded
), consonants AS (
    SELECT *, regexp_replace(translate(replace(ltrim(tokens[1], 'H'), 'PH', 'F'), 'CQZ', 'KKS'),
        '(.)[AEIOUYHW]+', '\\1', 'g') AS consonants
    FROM spoken
    WHERE compact <> ''
)
SELECT written, compact, tokens, list_filter(parts, lambda part: length(part) > 3) AS parts,
    list_aggregate(list_filter(string_split(consonants, ''),
        lambda letter, rank: rank = 1 OR letter <> consonants[rank - 1]), 'string_agg', '') AS skeleton
FROM consonants
WHERE compact NOT IN ({", ".join(f"'{name}'" for name in _PLACEHOLDER_NAMES)})
"""

# One row per record. « DUPONT née MARTIN » in one cell is two names; `surname` is the birth name where it is known.
_STANDARD = f"""
CREATE OR REPLACE TEMP TABLE standard AS
WITH cells AS (
    SELECT
        row_number() OVER (ORDER BY record_id) AS record, record_id, partner, partner_family,
        compacted(nir) AS nir, compacted(niss) AS niss, compacted(france_travail_id) AS france_travail_id,
        compacted(caf_matricule) AS caf_matricule, canonical_caf_role(caf_role) AS caf_role,
        partner || ':' || nullif(trim(department_person_id), '') AS local_id,
        birth_name, used_name, first_names,
        canonical_sex(sex) AS sex,
        TRY_CAST(regexp_extract(birth_date, '^([0-9]{{4}})', 1) AS SMALLINT) AS year,
        nullif(TRY_CAST(regexp_extract(birth_date, '^[0-9]{{4}}-([0-9]{{2}})', 1) AS SMALLINT), 0) AS month,
        nullif(TRY_CAST(regexp_extract(birth_date, '^[0-9]{{4}}-[0-9]{{2}}-([0-9]{{2}})', 1) AS SMALLINT), 0) AS day,
        nullif(upper(regexp_replace(birth_place_code, '[^0-9A-Za-z]', '', 'g')), '') AS birth_place_code,
        nullif(regexp_replace(upper(strip_accents(birth_place_name)), '[^A-Z]', '', 'g'), '') AS birth_place_name,
        nullif(upper(regexp_replace(residence_code, '[^0-9A-Za-z]', '', 'g')), '') AS residence_code,
        nullif(regexp_replace(postal_code, '[^0-9]', '', 'g'), '') AS postal_code,
        CASE WHEN email LIKE '%_@_%._%' THEN lower(regexp_extract(trim(email), '^[^\\s,;/]+')) END AS email,
        regexp_replace(regexp_extract(phone, '^[^,;/]+'), '[^0-9]', '', 'g')[-9:] AS phone
    FROM canonical
), numbers AS (
    SELECT * REPLACE (CASE WHEN year >= {_FIRST_BIRTH_YEAR} THEN year END AS year),
        CASE WHEN $space = 'fr' THEN nir ELSE niss END AS number_text,
        CASE WHEN $space = 'fr' THEN nir_of_compacted(nir) ELSE niss_of_compacted(niss, year) END AS number
    FROM cells
), surnames AS (
    SELECT numbers.*,
        birth.compact AS birth_compact, birth.parts AS birth_parts, used.compact AS used_compact,
        used.parts AS used_parts, given.compact AS given, given.tokens AS given_tokens,
        CASE WHEN length(given.skeleton) > 1 THEN given.skeleton END AS given_skeleton
    FROM numbers
    LEFT JOIN names AS birth ON birth.written = birth_name
    LEFT JOIN names AS used ON used.written = used_name
    LEFT JOIN names AS given ON given.written = first_names
)
SELECT
    record, record_id, partner, number,
    CASE WHEN $space = 'fr' THEN length(number_text) = 15 ELSE true END AS number_is_checked,
    CASE WHEN $space = 'fr' THEN number[1:1] IN ('1', '2') ELSE number[3:3] IN ('0', '1') END AS number_is_definitive,
    CASE WHEN $space = 'fr' THEN number[6:7] = '99' ELSE false END AS number_is_foreign_born,
    CASE WHEN $space = 'fr' THEN CASE WHEN number[1:1] IN ('1', '3', '7') THEN '1' ELSE '2' END
         WHEN number[3:3] NOT IN ('2', '3')
         THEN CASE WHEN TRY_CAST(number[9:9] AS INTEGER) % 2 = 1 THEN '1' ELSE '2' END
    END AS number_sex,
    TRY_CAST(CASE WHEN $space = 'fr' THEN number[2:3] ELSE number[1:2] END AS SMALLINT) AS number_year,
    CASE WHEN $space = 'fr' THEN TRY_CAST(number[4:5] AS SMALLINT) ELSE TRY_CAST(number[3:4] AS SMALLINT) % 20 END
        AS number_month,
    CASE WHEN $space = 'fr' AND length(number_text) IN (13, 15) THEN number_text[1:13]
         WHEN $space = 'be' AND length(number_text) = 11 THEN number_text END AS number_as_written,
    CASE WHEN $space = 'fr' THEN ntt_of_compacted(nir) END AS ntt,
    france_travail_id_of_compacted(france_travail_id) AS france_travail_id,
    caf_matricule_of_compacted(caf_matricule) AS caf_matricule, local_id,
    coalesce(birth_compact, used_compact) AS surname, coalesce(used_compact, birth_compact) AS used_surname,
    list_sort(list_distinct(list_concat(coalesce(birth_parts, []), coalesce(used_parts, [])))) AS surname_parts,
    given, given_tokens, given_tokens[1] AS given_first, given_skeleton,
    sex, year, CASE WHEN month <= 12 THEN month END AS month, CASE WHEN day <= 31 THEN day END AS day,
    month IS NULL OR day IS NULL OR (month = 1 AND day = 1) AS is_approximate,
    birth_place_code, birth_place_name, residence_code,
    CASE WHEN length(postal_code) = 4 AND $space = 'fr' THEN '0' || postal_code ELSE postal_code END AS postal_code,
    email,
    CASE WHEN length(phone) = 9 AND replace(phone, phone[1:1], '') <> '' THEN phone END AS phone
FROM surnames
"""

# One row per distinct set of traits. Records that say too little to be called the same stay apart.
_NODES = """
CREATE OR REPLACE TEMP TABLE record_nodes AS
WITH keyed AS (
    SELECT record, hash(
        number, number_is_checked, number_as_written, ntt, france_travail_id, caf_matricule, local_id, surname,
        used_surname, given_tokens, sex, year, month, day, birth_place_code, birth_place_name, residence_code,
        postal_code, email, phone,
        CASE WHEN surname IS NULL OR given IS NULL OR year IS NULL OR month IS NULL OR day IS NULL THEN record END
    ) AS traits
    FROM standard
)
SELECT record, min(record) OVER (PARTITION BY traits) AS node FROM keyed;
CREATE OR REPLACE TEMP TABLE nodes AS
SELECT record AS node, * EXCLUDE (record, record_id, partner)
FROM standard WHERE record IN (SELECT node FROM record_nodes)
"""


def standardise(connection: duckdb.DuckDBPyConnection, records: pa.Table, space: str) -> None:
    """Make the temporary tables `standard` (one row per record, in order of `record_id`), `record_nodes` (record to
    node) and `nodes` (one row per distinct set of traits) of one person space.

    `records` has the columns of `PERSON_SCHEMA`; a number of the other space is not read at all.
    """
    connection.execute(SQL_MACROS)
    connection.execute(SEX_MACRO)
    connection.register("arriving", records)
    connection.execute("CREATE OR REPLACE TEMP TABLE canonical AS SELECT * FROM arriving")
    connection.unregister("arriving")
    connection.register("transliterated", _transliterated(connection))
    connection.execute(_NAMES)
    connection.execute(_STANDARD, {"space": space})
    connection.unregister("transliterated")
    connection.execute(_NODES)
    connection.execute("DROP TABLE canonical; DROP TABLE names")


def _transliterated(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The names that stripping accents does not bring to ASCII (œ, ß, ł, other scripts), and their transliteration."""
    from anyascii import anyascii

    written = [
        value
        for (value,) in connection.execute(
            "SELECT DISTINCT written"
            " FROM (SELECT unnest([birth_name, used_name, first_names]) AS written FROM canonical)"
            " WHERE regexp_matches(strip_accents(written), '[^\\x00-\\x7F]') ORDER BY written"
        ).fetchall()
    ]
    return pa.table(
        {"written": written, "ascii": [anyascii(value) for value in written]},
        schema=pa.schema([("written", pa.string()), ("ascii", pa.string())]),
    )
