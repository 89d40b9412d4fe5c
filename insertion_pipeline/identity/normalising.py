"""Standardisation: canonical person records as text become traits that can be compared.

Belongs here: folding of scripts and accents, tokens of names, birth dates with their precision, communes, e-mail and
telephone, placeholders, the canonical form of numbers (`identifiers`), and the collapse of records whose traits are all
the same into one *node*. Does not belong here: comparing two nodes (`linkage`).

Everything is set-based. What many records share (names, dates, places) is standardised once per distinct text, and
names stand in a node as codes of their spelling: equality of codes is equality of spellings, and the texts are fetched
(`faces`) for the few nodes that are compared letter by letter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from string import ascii_uppercase

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from insertion_pipeline.identity.identifiers import SQL_MACROS

#: The canonical person record: what partners' tables become before anybody is recognised. All text.
PERSON_COLUMNS = (
    "person_space", "partner_family", "partner", "nir", "niss", "france_travail_id", "caf_matricule", "caf_role",
    "department_person_id", "birth_name", "used_name", "first_names", "sex", "birth_date", "birth_place_code",
    "birth_place_name", "address", "postal_code", "residence_code", "email", "phone",
)  # fmt: skip
PERSON_SCHEMA = pa.schema([("record_id", pa.string()), *((name, pa.string()) for name in PERSON_COLUMNS)])
#: Text as codes of its distinct values: what a column may be that many records share, and mostly is in a file already.
CODES = pa.dictionary(pa.int32(), pa.string())
REPEATED_COLUMNS = (
    "partner_family", "partner", "caf_role", "birth_name", "used_name", "first_names", "sex", "birth_date",
    "birth_place_code", "birth_place_name", "postal_code", "residence_code",
)  # fmt: skip

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

#: Births before this year, and on the first day of the two that follow, are fillers of a mandatory field.
_FIRST_BIRTH_YEAR = 1900
#: Nobody stands in so many files with one and the same content.
_SAME_AT_MOST = 60


def _heard(word: str) -> str:
    """The SQL of how a word sounds."""
    unaspirated = f"replace(regexp_replace({word}, '^H', ''), 'PH', 'F')"
    plain = f"translate(replace({unaspirated}, 'X', 'KS'), 'CQZ', 'KKS')"
    sound = f"regexp_replace(regexp_replace({plain}, '^[AEIOUY]', 'A'), '([A-Z])[AEIOUYHW]+', '\\1', 'g')"
    for consonant in "BDFGJKLMNPRSTV":
        sound = f"replace({sound}, '{consonant * 2}', '{consonant}')"
    return sound


# How each word sounds: consonants, those that French writes in several ways brought to one, none doubled. Short words
# say too little.
_SOUNDS = f"""
WITH heard AS (SELECT code, {_heard("written")} AS sound FROM written)
SELECT CASE WHEN length(sound) > 2 THEN sound END AS sound FROM heard ORDER BY code
"""

# Most names are words of plain letters, and need no replacement by pattern. Only given names are compared by their
# tokens, only surnames by their parts.
_NAMES = f"""
WITH folded AS (
    SELECT code, is_given, is_surname, upper(coalesce(ascii, strip_accents(written))) AS plain,
        regexp_full_match(plain, '[A-Z][A-Z''-]*( [A-Z][A-Z''-]*)*') AS is_plain
    FROM written LEFT JOIN transliterated USING (code)
), spoken AS (
    SELECT code, is_given, is_surname,
        CASE WHEN is_plain THEN translate(plain, '-'' ', '')
            ELSE regexp_replace(plain, '[^A-Z]+', '', 'g') END AS compact,
        CASE WHEN is_plain THEN translate(plain, '-''', '  ')
            ELSE regexp_replace(plain, '[^A-Z]+', ' ', 'g') END AS parts,
        CASE WHEN is_plain THEN translate(plain, '-''', '')
            ELSE trim(regexp_replace(translate(plain, '-''', ''), '[^A-Z]+', ' ', 'g')) END AS tokens
    FROM folded
), told AS (
    SELECT *, compact = '' OR compact IN ({", ".join(f"'{name}'" for name in _PLACEHOLDER_NAMES)}) AS is_filler
    FROM spoken
)
SELECT CASE WHEN NOT is_filler THEN compact END AS compact,
    CASE WHEN is_given AND NOT is_filler THEN string_split(tokens, ' ') END AS tokens,
    CASE WHEN is_surname THEN list_filter(string_split(parts, ' '), lambda part: length(part) > 3) END AS parts
FROM told ORDER BY code
"""

# What is compared of each distinct name, and nothing that could be told again.
_NAMED = """
CREATE OR REPLACE TEMP TABLE names AS
SELECT code, compact, first, list_filter(sounds, lambda sound: sound IS NOT NULL) AS skeletons, tokens, parts,
    CASE WHEN tokens IS NOT NULL
        THEN [tokens[1], array_to_string(tokens[1:2], ''), array_to_string(tokens[1:3], '')] END AS starts
FROM arriving
"""
_SPELT = "CREATE OR REPLACE TEMP TABLE spellings AS FROM arriving"
_LOCATED = "CREATE OR REPLACE TEMP TABLE addresses AS FROM arriving"

_DATES = f"""
WITH digits AS (
    SELECT code, TRY_CAST(regexp_extract(written, '^([0-9]{{4}})', 1) AS SMALLINT) AS year,
        TRY_CAST(regexp_extract(written, '^[0-9]{{4}}-([0-9]{{2}})', 1) AS SMALLINT) AS month,
        TRY_CAST(regexp_extract(written, '^[0-9]{{4}}-[0-9]{{2}}-([0-9]{{2}})', 1) AS SMALLINT) AS day
    FROM written
)
SELECT CASE WHEN year >= {_FIRST_BIRTH_YEAR} + CASE WHEN month = 1 AND day = 1 THEN 2 ELSE 0 END THEN year END AS year,
    CASE WHEN month BETWEEN 1 AND 12 THEN month END AS month, CASE WHEN day BETWEEN 1 AND 31 THEN day END AS day
FROM digits ORDER BY code
"""

_SEXES = "SELECT CAST(canonical_sex(written) AS TINYINT) AS sex FROM written ORDER BY code"
_CODES = """
SELECT nullif(upper(regexp_replace(written, '[^0-9A-Za-z]', '', 'g')), '') AS place FROM written ORDER BY code
"""
_PLACES = """
SELECT nullif(regexp_replace(upper(strip_accents(written)), '[^A-Z]', '', 'g'), '') AS place FROM written ORDER BY code
"""
# A whole building shares an address: its words are told apart once.
_ADDRESSES = """
WITH spelt AS (
    SELECT code, nullif(regexp_replace(upper(strip_accents(written)), '[^0-9A-Z]+', ' ', 'g'), ' ') AS text FROM written
)
SELECT hash(nullif(replace(text, ' ', ''), '')) AS address, text,
    list_sort(list_distinct(string_split(trim(text), ' '))) AS words
FROM spelt ORDER BY code
"""
_POSTAL_CODES = """
WITH digits AS (SELECT code, nullif(regexp_replace(written, '[^0-9]', '', 'g'), '') AS digits FROM written)
SELECT CASE WHEN length(digits) = 4 AND $space = 'fr' THEN '0' || digits ELSE digits END AS place
FROM digits ORDER BY code
"""

# One row per record: what was coded, and the numbers and contacts, which hardly two records share.
_STANDARD = """
CREATE OR REPLACE TEMP TABLE standard AS
WITH compact AS (
    SELECT * REPLACE (compacted(france_travail_id) AS france_travail_id, compacted(caf_matricule) AS caf_matricule),
        compacted(number_written) AS number_text
    FROM coded
), cells AS (
    SELECT * EXCLUDE (number_written, france_travail_id, caf_matricule, partner, department_person_id, email, phone),
        month IS NULL OR day IS NULL OR (month = 1 AND day = 1) AS is_approximate,
        france_travail_id_of_compacted(france_travail_id) AS france_travail_id,
        caf_matricule_of_compacted(caf_matricule) AS caf_matricule,
        partner || ':' || nullif(trim(department_person_id), '') AS local_id,
        CASE WHEN email NOT LIKE '%_@_%._%' THEN NULL
            WHEN regexp_matches(email, '[\\s,;/]') THEN lower(regexp_extract(trim(email), '^[^\\s,;/]+'))
            ELSE lower(email) END AS email,
        CASE WHEN regexp_full_match(phone, '0[0-9]{{9}}') THEN right(phone, 9)
            ELSE right(regexp_replace(regexp_extract(phone, '^[^,;/]+'), '[^0-9]', '', 'g'), 9) END AS phone
    FROM compact
), numbers AS (
    SELECT * REPLACE (CASE WHEN length(phone) = 9 AND ltrim(phone, phone[1]) <> '' THEN phone END AS phone),
        CASE WHEN $space = 'fr' THEN nir_of_compacted(number_text) ELSE niss_of_compacted(number_text, year) END
            AS number
    FROM cells
), told AS (
SELECT * EXCLUDE (number_text),
    CASE WHEN $space = 'fr' THEN length(number_text) = 15 ELSE true END AS number_is_checked,
    CASE WHEN $space = 'fr' THEN number[1] IN ('1', '2') ELSE number[3] IN ('0', '1') END AS number_is_definitive,
    CASE WHEN $space = 'fr' THEN substring(number, 6, 2) = '99' ELSE false END AS number_is_foreign_born,
    CASE WHEN $space = 'fr' THEN CASE WHEN number[1] IN ('1', '3', '7') THEN 1 WHEN number IS NOT NULL THEN 2 END
         WHEN number[3] NOT IN ('2', '3') THEN 2 - TRY_CAST(number[9] AS TINYINT) % 2
    END::TINYINT AS number_sex,
    TRY_CAST(CASE WHEN $space = 'fr' THEN substring(number, 2, 2) ELSE left(number, 2) END AS SMALLINT) AS number_year,
    CASE WHEN $space = 'fr' THEN TRY_CAST(substring(number, 4, 2) AS SMALLINT)
         ELSE TRY_CAST(substring(number, 3, 2) AS SMALLINT) % 20 END AS number_month,
    CASE WHEN $space = 'fr' AND length(number_text) = 15 THEN left(number_text, 13)
         WHEN length(number_text) BETWEEN 6 AND 20 AND ltrim(number_text, number_text[1]) <> '' THEN number_text
    END AS number_as_written,
    CASE WHEN $space = 'fr' THEN ntt_of_compacted(number_text) END AS ntt
FROM numbers
)
SELECT *, record AS node, 1 AS records,
    -- records that say too little to be called the same stay apart
    hash(
        number, number_is_checked, number_as_written, ntt, france_travail_id, caf_matricule, local_id, surname,
        used_surname, given_name, sex, year, month, day, birth_place_code, birth_place_name, residence_code,
        postal_code, address, email, phone,
        CASE WHEN surname IS NULL OR given IS NULL OR year IS NULL OR month IS NULL OR day IS NULL
            OR record IN (FROM decided) THEN record END
    ) AS traits
FROM ({told})
"""
_TOLD, _TOLD_OR_REMEMBERED = "FROM told", "FROM told UNION ALL BY NAME FROM remembered"

# What a record says by itself: everything but its names' and address's codes, which are this run's.
_REMEMBERED = """
SELECT * EXCLUDE (
    record, birth_name, used_name, given_name, surname, used_surname, given, given_first, used_initial, given_initial,
    address_written, node, records, traits
) FROM standard ORDER BY record
"""
_VERSIONS = f"SELECT hash({', '.join(PERSON_COLUMNS)}) AS version FROM written_records"

# One row per distinct set of traits, named by its first record. What very many records say, without a number or a
# contact of anybody's own, is a filler: each stays for itself.
_NODES = f"""
CREATE OR REPLACE TEMP TABLE repeated AS
WITH same AS (
    SELECT traits, min(record) AS node, count(*) AS records FROM standard GROUP BY traits
    HAVING records > 1 AND (records <= {_SAME_AT_MOST} OR any_value(coalesce(number, email, phone)) IS NOT NULL)
)
SELECT record, same.node, same.records FROM standard JOIN same USING (traits);
CREATE OR REPLACE TEMP TABLE record_nodes AS
SELECT record, coalesce(repeated.node, record) AS node FROM standard LEFT JOIN repeated USING (record);
DELETE FROM standard WHERE record IN (SELECT record FROM repeated WHERE record <> node);
UPDATE standard SET records = repeated.records FROM repeated WHERE standard.node = repeated.record;
DROP TABLE repeated;
ALTER TABLE standard DROP record;
ALTER TABLE standard DROP traits;
DROP TABLE IF EXISTS nodes;
ALTER TABLE standard RENAME TO nodes
"""

_FACES = """
CREATE OR REPLACE TEMP TABLE {name} AS
WITH all_traits AS (
WITH shown AS (
    SELECT nodes.*, surname AS coded_surname, given_first AS coded_given_first,
        (10_000 * year::INTEGER + 100 * month + day) AS coded_birth_day, birth_place_name AS coded_birth_place_name,
        postal_code AS coded_postal_code, nullif(regexp_extract(upper(email), '^[^@]+'), '') AS mailbox
    FROM nodes WHERE node IN ({chosen})
)
SELECT node, coalesce(birth.compact, used.compact) AS surname, coalesce(used.compact, birth.compact) AS used_surname,
    CASE WHEN birth.compact IS DISTINCT FROM used.compact THEN list_concat(birth.parts, used.parts)
        ELSE coalesce(birth.parts, []) END AS surname_parts,
    [birth.compact, used.compact] AS surnames,
    coalesce(given.starts, [NULL, NULL, NULL]) AS given_starts,
    given.compact AS given, given.tokens AS given_tokens, given.first AS given_first,
    given.skeletons AS given_skeletons,
    sex, year, month, day, coded_birth_day AS birth_day, is_approximate,
    birth_place_code, birth_place_name, residence_code, postal_code, email,
    string_split_regex(mailbox, '[^A-Z]+') AS email_names,
    coalesce(regexp_replace(mailbox, '[^0-9A-Z]', '', 'g') IN (
        given.compact || birth.compact, birth.compact || given.compact, given.compact || used.compact,
        used.compact || given.compact, given.first || birth.compact, birth.compact || given.first,
        given.first || used.compact, used.compact || given.first), false) AS email_spells_names,
    phone, number_sex, number_year, number_month, number_is_checked, number_is_definitive, number_as_written,
    france_travail_id, caf_matricule,
    addresses.text AS address, addresses.words AS address_words
    {frequencies}
FROM shown
LEFT JOIN names AS birth ON birth.code = birth_name
LEFT JOIN names AS used ON used.code = used_name
LEFT JOIN names AS given ON given.code = given_name
LEFT JOIN addresses ON addresses.code = address_written
{counted}
)
SELECT {traits} FROM all_traits
"""

#: What tells a person's name and birth, among the columns of a face.
NAMES_AND_BIRTH = (
    "node, surname, used_surname, surname_parts, given, given_tokens, given_first, given_skeletons, sex, year, month,"
    " day, is_approximate"
)


@dataclass(frozen=True)
class Remembered:
    """What was standardised before, so that it need not be again.

    `records`: `record_id`, `version` (a hash of all that the record says) and what it says in standard form; one row
    per record, in their order. `names`, `addresses`: one row per distinct text (`written`).
    """

    records: pa.Table | None = None
    names: pa.Table | None = None
    addresses: pa.Table | None = None


@dataclass(frozen=True)
class Standardised:
    """What `standardise` did: how many records it had to read, and what is worth remembering now."""

    fresh: int
    remembered: Remembered | None


def rules() -> str:
    """What standard forms depend on beside the text: a digest of every rule and of what carries them out."""
    written = (
        SQL_MACROS, SEX_MACRO, _SOUNDS, _NAMES, _DATES, _SEXES, _CODES, _PLACES, _ADDRESSES, _POSTAL_CODES, _STANDARD,
        _REMEMBERED, _VERSIONS, duckdb.__version__, metadata.version("anyascii"),
    )  # fmt: skip
    return hashlib.sha256("\n".join(written).encode()).hexdigest()


def cells_of(records: pa.Table) -> dict[str, pa.Array]:
    """The columns of `records`, each in one piece: copied only where it comes in several."""
    return {
        name: column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        for name, column in zip(records.column_names, records.columns, strict=True)
    }


def standardise(
    connection: duckdb.DuckDBPyConnection,
    cells: dict[str, pa.Array],
    space: str,
    remembered: Remembered | None = None,
) -> Standardised:
    """Make the temporary tables `nodes` (one row per distinct set of traits, named by its first record), `record_nodes`
    (record to node), `names` and `addresses` (the spellings that nodes refer to) and `spellings` (code to text) of one
    person space.

    A record is known by its rank in the order of `record_id`. Those of the table `decided` keep a node of their own.
    `cells` has the columns of `PERSON_SCHEMA` (`cells_of`), and is empty afterwards: a country's records weigh too much
    to stay. A number of the other space is not read at all. `remembered`: by the same `rules`; what it has of a record
    that says the same as then is taken as it is.
    """
    connection.execute(SQL_MACROS)
    connection.execute(SEX_MACRO)
    record_ids = cells["record_id"]
    order = in_order(record_ids)
    rank = np.empty(len(record_ids), dtype=np.int64)
    rank[order] = np.arange(len(record_ids), dtype=np.int64)
    known = remembered or Remembered()
    versions = _versions(connection, cells) if remembered is not None else None
    found = _found(known.records, record_ids, versions)
    codes = {"record": pa.array(rank)}
    named, names = _names(
        connection, [cells.pop(name) for name in ("birth_name", "used_name", "first_names")], known.names
    )
    located, addresses = _addresses(connection, cells.pop("address"), known.addresses)
    codes |= named | located
    is_new = found < 0
    fresh = int(is_new.sum())
    if fresh == len(record_ids):
        coded = codes | _coded(connection, cells, addresses, codes["address_written"], space)
    else:
        new, old = pa.array(np.flatnonzero(is_new)), pa.array(np.flatnonzero(~is_new))
        coded = {name: column.take(new) for name, column in codes.items()}
        coded |= _coded(
            connection, {n: column.take(new) for n, column in cells.items()}, addresses, coded["address_written"], space
        )
        if known.records is None:
            raise AssertionError("what was found is remembered")
        recalled = known.records.drop_columns(["record_id", "version"]).take(pa.array(found[~is_new]))
        for name, column in codes.items():
            recalled = recalled.append_column(name, column.take(old))
        connection.register("remembered", recalled)
    cells.clear()
    connection.register("coded", pa.table(coded))
    del codes, coded
    told = _TOLD if fresh == len(record_ids) else _TOLD_OR_REMEMBERED
    connection.execute(_STANDARD.format(told=told), {"space": space})
    connection.unregister("coded")
    kept = remembered
    is_as_before = fresh == 0 and names is known.names and addresses is known.addresses
    if versions is not None and not (is_as_before and len(found) == len(known.records or ())):
        values = connection.sql(_REMEMBERED).to_arrow_table().combine_chunks()
        values = values.add_column(0, "version", pa.array(versions[order]))
        kept = Remembered(values.add_column(0, "record_id", record_ids.take(pa.array(order))), names, addresses)
    if fresh < len(record_ids):
        connection.unregister("remembered")
    connection.execute(_NODES)
    return Standardised(fresh, kept)


def _coded(
    connection: duckdb.DuckDBPyConnection,
    cells: dict[str, pa.Array],
    addresses: pa.Table,
    address_written: pa.Array,
    space: str,
) -> dict[str, pa.Array]:
    """What many records share, once per distinct text, and what hardly two share, as it is written. Takes what it
    reads out of `cells`."""
    places: dict[str, tuple[str, dict[str, str] | None]] = {
        "birth_place_code": (_CODES, None),
        "birth_place_name": (_PLACES, None),
        "residence_code": (_CODES, None),
        "postal_code": (_POSTAL_CODES, {"space": space}),
    }
    births, sexes, *located = _encoded([cells.pop(name) for name in ("birth_date", "sex", *places)])
    year, month, day = (told.take(births.indices) for told in _told(connection, births.dictionary, _DATES))
    (sex,) = _told(connection, sexes.dictionary, _SEXES)
    return {
        "address": addresses["address"].combine_chunks().take(address_written),
        "sex": sex.take(sexes.indices),
        "year": year, "month": month, "day": day,
        **{
            name: pa.DictionaryArray.from_arrays(column.indices, _told(connection, column.dictionary, *query)[0])
            for column, (name, query) in zip(located, places.items(), strict=True)
        },
        "number_written": cells.pop("nir" if space == "fr" else "niss"),
        **{
            name: cells.pop(name)
            for name in ("france_travail_id", "caf_matricule", "partner", "department_person_id", "email", "phone")
        },
    }  # fmt: skip


def _versions(connection: duckdb.DuckDBPyConnection, cells: Mapping[str, pa.Array]) -> NDArray[np.uint64]:
    """A hash of all that each record says."""
    connection.register("written_records", pa.table({name: cells[name] for name in PERSON_COLUMNS}))
    versions = connection.sql(_VERSIONS).to_arrow_table()["version"]
    connection.unregister("written_records")
    return np.asarray(versions, dtype=np.uint64)


def _found(known: pa.Table | None, record_ids: pa.Array, versions: NDArray[np.uint64] | None) -> NDArray[np.int64]:
    """Where each record stands among those remembered, -1 where it does not, or says something else than it did."""
    if known is None or versions is None or not len(known):
        return np.full(len(record_ids), -1, dtype=np.int64)
    places = np.asarray(pc.fill_null(pc.index_in(record_ids, value_set=known["record_id"]), -1), dtype=np.int64)
    says_the_same = np.asarray(known["version"], dtype=np.uint64)[places] == versions
    return np.where((places >= 0) & says_the_same, places, -1)


def in_order(record_ids: pa.Array) -> NDArray[np.int64]:
    """The places of the records in the order of their ids. They mostly come in it: looking takes a tenth of sorting."""
    if is_ascending(record_ids):
        return np.arange(len(record_ids), dtype=np.int64)
    return np.asarray(pc.sort_indices(record_ids), dtype=np.int64)


def is_ascending(record_ids: pa.Array) -> bool:
    """Whether every id comes after the one before it, and none twice."""
    return len(record_ids) < 2 or bool(pc.all(pc.less(record_ids[:-1], record_ids[1:])).as_py())


def show_faces(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    chosen: str,
    *,
    traits: str = "*",
    rarities: Sequence[str] = (),
) -> None:
    """Make the temporary table `name`: the texts of the nodes that the query `chosen` gives, as people compare them.

    `traits`: the columns that are wanted. `rarities`: the traits beside which to put how frequent their value is
    (`tf_…`), from the tables `frequency_of_…`.
    """
    connection.execute(
        _FACES.format(
            name=name,
            chosen=chosen,
            traits=traits,
            frequencies="".join(f", of_{trait}.frequency AS tf_{trait}" for trait in rarities),
            counted=" ".join(
                f"LEFT JOIN frequency_of_{trait} AS of_{trait} ON of_{trait}.value = coded_{trait}"
                for trait in rarities
            ),
        )
    )


def _names(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[pa.Array], known: pa.Table | None
) -> tuple[dict[str, pa.Array], pa.Table]:
    """The columns of names as codes: of the name as written, and of each spelling that is compared for equality. And
    what is told of each name, by its code."""
    encoded = pa.chunked_array(_encoded(columns)).unify_dictionaries()
    written = encoded.chunk(0).dictionary
    birth, used, given = (column.indices for column in encoded.chunks)
    roles = {"is_surname": _named(written, birth, used), "is_given": _named(written, given)}
    names = _each(connection, written, _tell_names, known, roles)
    compact, first = names["compact"].combine_chunks(), names["first"].combine_chunks()
    spelt = pa.concat_arrays([compact, first]).dictionary_encode()
    _keep(connection, _NAMED, names)
    _keep(connection, _SPELT, pa.table({"text": spelt.dictionary}))
    compact, first = (spelt.indices[start : start + len(names)] for start in (0, len(names)))
    birth_compact, used_compact = compact.take(birth), compact.take(used)
    initials = pc.index_in(pc.utf8_slice_codeunits(spelt.dictionary, 0, 1), pa.array(ascii_uppercase)).cast(pa.int16())
    codes = {
        "birth_name": birth,
        "used_name": used,
        "given_name": given,
        "surname": pc.coalesce(birth_compact, used_compact),
        "used_surname": pc.coalesce(used_compact, birth_compact),
        "given": compact.take(given),
        "given_first": first.take(given),
        "used_initial": initials.take(pc.coalesce(used_compact, birth_compact)),
        "given_initial": initials.take(compact.take(given)),
    }
    return codes, names


def _tell_names(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """What is told of each name of `written`."""
    connection.register("transliterated", _transliterated(connection))
    read = connection.sql(_NAMES).to_arrow_table()
    connection.unregister("transliterated")
    connection.unregister("written")
    compact, tokens, parts = (column.combine_chunks() for column in read.columns)
    first = pc.list_element(tokens, 0)
    sounds = _sounds(connection, tokens)
    return pa.table({"compact": compact, "first": first, "sounds": sounds, "tokens": tokens, "parts": parts})


def _addresses(
    connection: duckdb.DuckDBPyConnection, column: pa.Array, known: pa.Table | None
) -> tuple[dict[str, pa.Array], pa.Table]:
    """The column of addresses as codes of the address as written, and what is told of each by its code."""
    encoded = column.dictionary_encode()
    addresses = _each(connection, encoded.dictionary, _tell_addresses, known, {})
    _keep(connection, _LOCATED, addresses.select(["text", "words"]))
    return {"address_written": encoded.indices}, addresses


def _tell_addresses(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """What is told of each address of `written`."""
    return connection.sql(_ADDRESSES).to_arrow_table()


def _each(
    connection: duckdb.DuckDBPyConnection,
    texts: pa.Array,
    tell: Callable[[duckdb.DuckDBPyConnection], pa.Table],
    known: pa.Table | None,
    roles: Mapping[str, NDArray[np.bool_]],
) -> pa.Table:
    """What is told of each text, which stands beside it (`written`): recalled where it is `known`, else told now.

    `roles`: what the texts are, as far as it decides what is told of them. Gives `known` itself where nothing is new.
    """
    places = np.full(len(texts), -1, dtype=np.int64)
    if known is not None and len(known):
        places = np.asarray(pc.fill_null(pc.index_in(texts, value_set=known["written"]), -1), dtype=np.int64)
        for role, has in roles.items():
            places[has & ~np.asarray(known[role])[places]] = -1
    is_new = places < 0
    if known is not None and not is_new.any() and len(texts) == len(known):
        return known.take(pa.array(places)) if (places != np.arange(len(places))).any() else known
    new = pa.array(np.flatnonzero(is_new))
    _register_written(connection, texts.take(new), **{role: pa.array(has[is_new]) for role, has in roles.items()})
    told = tell(connection)
    connection.unregister("written")
    told = told.add_column(0, "written", texts.take(new))
    for role, has in roles.items():
        told = told.append_column(role, pa.array(has[is_new]))
    if known is None or is_new.all():
        return told.combine_chunks()
    places[is_new] = len(known) + np.arange(len(new), dtype=np.int64)
    return pa.concat_tables([known, told.cast(known.schema)]).combine_chunks().take(pa.array(places))


def _keep(connection: duckdb.DuckDBPyConnection, query: str, told: pa.Table) -> None:
    """Make a temporary table of what is told of each distinct text (`arriving`)."""
    connection.register("arriving", told.add_column(0, "code", _ranks(told)))
    connection.execute(query)
    connection.unregister("arriving")


def _sounds(connection: duckdb.DuckDBPyConnection, names: pa.Array) -> pa.Array:
    """How each word of names sounds, null where it says too little. `names`: a list of words each, or null."""
    words = names.values.dictionary_encode()
    (sounds,) = _told(connection, words.dictionary, _SOUNDS)
    return pa.ListArray.from_arrays(names.offsets, sounds.take(words.indices), mask=names.is_null())


def _encoded(columns: Sequence[pa.Array]) -> list[pa.DictionaryArray]:
    """Each column as codes of its distinct texts, two columns at a time: Arrow reads one by a single thread."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(_codes_of, columns))


def _codes_of(column: pa.Array) -> pa.DictionaryArray:
    """A column as codes of the texts that it has: those of a part of a table may know the texts of all of it."""
    if column.type != CODES:
        return column.dictionary_encode()
    texts, codes = column.dictionary, column.indices
    has = _named(texts, codes)
    if has.all():
        return column
    ranks = pa.array(np.cumsum(has, dtype=np.int32) - 1)
    return pa.DictionaryArray.from_arrays(ranks.take(codes), texts.filter(pa.array(has)))


def _told(
    connection: duckdb.DuckDBPyConnection, texts: pa.Array, query: str, parameters: dict[str, str] | None = None
) -> list[pa.Array]:
    """The columns that `query` gives for each of the texts (`written`)."""
    _register_written(connection, texts)
    found = connection.sql(query, params=parameters).to_arrow_table()
    connection.unregister("written")
    return [one.combine_chunks() for one in found.columns]


def _register_written(connection: duckdb.DuckDBPyConnection, texts: pa.Array, **about: pa.Array) -> None:
    connection.register("written", pa.table({"code": _ranks(texts), "written": texts, **about}))


def _named(texts: pa.Array, *columns: pa.Array) -> NDArray[np.bool_]:
    """Of each text, whether a record of one of the columns (indices of texts) has it."""
    has = np.zeros(len(texts), dtype=bool)
    for indices in columns:
        has[indices.drop_null().to_numpy()] = True
    return has


def _ranks(values: pa.Array | pa.Table) -> pa.Array:
    return pa.array(np.arange(len(values), dtype=np.int32))


def _transliterated(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The names that stripping accents does not bring to ASCII (œ, ß, ł, other scripts), and their transliteration."""
    foreign = connection.execute(
        "SELECT code, written FROM written WHERE regexp_matches(strip_accents(written), '[^\\x00-\\x7F]') ORDER BY code"
    ).fetchall()
    from anyascii import anyascii

    return pa.table(
        {"code": [code for code, _ in foreign], "ascii": [anyascii(text) for _, text in foreign]},
        schema=pa.schema([("code", pa.int32()), ("ascii", pa.string())]),
    )
