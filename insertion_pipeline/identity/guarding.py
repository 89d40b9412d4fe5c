"""What parts relatives: twins, fathers and sons, couples who share everything but themselves.

Belongs here: which traits of a weighed pair forbid its union, and which evidence lifts that. Does not belong here: the
weights (`scoring`), the unions (`clustering`).

A pair whose given names, birth dates or sexes clearly differ is not one person on the strength of what relatives share:
surname, address, birth place, household. The person's number lifts every guard but that of a generation. Other evidence
(the e-mail, an e-mail made of the other given name, the telephone) lifts the guard of a given name or a sex where the
data say that it may: among pairs of the same surname and birth date whose records carry trusted numbers, the share of
those with one and the same number is counted by kind of evidence. Where such pairs are few, a prior holds: an e-mail
is a person's own, the rest is not enough.
"""

from __future__ import annotations

import duckdb

#: From this share of one person on, evidence lifts a guard.
_LIFTED_FROM = 0.6
#: How much a prior weighs: pairs of this kind, as if seen; and the share of them that are one person.
_PRIOR_PAIRS = 5
_PRIOR_SHARE = {
    "number alike": 0.9,
    "email": 0.95,
    "named in e-mail": 0.9,
    "telephone": 0.5,
    "unknown": 0.2,
    "another": 0.1,
}
#: A birth date is not what an e-mail makes up for: father and son share theirs.
_PRIOR_SHARE_OF_OTHER_BIRTHS = 0.2
#: A finer pattern is believed when it has been seen about this often.
_FINE_PAIRS = 5
#: The share is counted on about this many nodes, those of some birth days.
_NODES_COUNTED = 150_000
#: More records than this of one surname and birth day, or of one name and address, are a filler's and not a family's.
_FAMILY = 30
#: A given name says the sex when so many of this data bear it, nearly all of one sex.
_BEARERS, _OF_ONE_SEX = 20, 0.97

# Given names that one sex bears: a record that says the other is mistaken, not another person. Twins of one given name
# do not exist; those of a given name that both sexes bear do, in principle.
_GIVEN_NAMES_OF_ONE_SEX = f"""
CREATE OR REPLACE TEMP TABLE given_names_of_one_sex AS
SELECT text AS given_first
FROM (
    SELECT given_first AS code FROM nodes WHERE given_first IS NOT NULL AND sex IS NOT NULL GROUP BY code
    HAVING count(*) >= {_BEARERS} AND greatest(avg((sex = 1)::INTEGER), avg((sex = 2)::INTEGER)) >= {_OF_ONE_SEX}
) JOIN spellings USING (code)
"""

_MACROS = """
CREATE OR REPLACE TEMP MACRO other_given(l, r) AS
    l.given IS NOT NULL AND r.given IS NOT NULL AND NOT same_given(l, r);
CREATE OR REPLACE TEMP MACRO other_birth(l, r) AS
    l.year IS NOT NULL AND r.year IS NOT NULL AND NOT same_birth(l, r)
        AND NOT (abs(l.year - r.year) <= 1 AND coalesce(l.given_first = r.given_first, false) AND same_surname(l, r));
CREATE OR REPLACE TEMP MACRO other_sex(l, r) AS
    coalesce(l.sex <> r.sex, false) AND NOT (coalesce(l.given_first = r.given_first, false)
        AND l.given_first IN (FROM given_names_of_one_sex));
CREATE OR REPLACE TEMP MACRO is_named_in_email(l, r) AS coalesce(
    (list_has_any(l.email_names, r.given_starts) AND NOT list_has_any(l.email_names, l.given_starts))
    OR (list_has_any(r.email_names, l.given_starts) AND NOT list_has_any(r.email_names, r.given_starts)), false);
CREATE OR REPLACE TEMP MACRO evidence(l, r) AS CASE
    WHEN (l.number_sex IS NULL OR r.number_sex IS NULL) AND l.number_as_written <> r.number_as_written
        AND left(l.number_as_written, 10) <> left(r.number_as_written, 10)
        AND damerau_levenshtein(l.number_as_written, r.number_as_written) <= 2 THEN 'number alike'
    WHEN coalesce(l.email = r.email, false) THEN 'email'
    WHEN is_named_in_email(l, r) THEN 'named in e-mail'
    WHEN coalesce(l.phone = r.phone, false) THEN 'telephone'
    WHEN l.phone <> r.phone OR l.email <> r.email THEN 'another'
    ELSE 'unknown' END;
CREATE OR REPLACE TEMP MACRO surroundings(l, r) AS
    concat_ws(' ', l.address = r.address, coalesce((l.birth_place_name = r.birth_place_name)::VARCHAR, 'unknown'));
CREATE OR REPLACE TEMP MACRO number_is_own(n) AS
    coalesce(n.number_is_checked AND n.number_is_definitive, false) AND number_agreements(n) >= 2;
CREATE OR REPLACE TEMP MACRO other_number(l, r) AS
    number_is_own(l) AND number_is_own(r) AND l.number_as_written <> r.number_as_written
        AND NOT coalesce(l.given_first = r.given_first AND l.birth_day = r.birth_day, false);
CREATE OR REPLACE TEMP MACRO guard_of(l, r) AS nullif(concat_ws('+',
    CASE WHEN other_number(l, r) THEN 'number' END, CASE WHEN other_given(l, r) THEN 'given_name' END,
    CASE WHEN other_birth(l, r) THEN 'birth_date' END,
    CASE WHEN other_sex(l, r) THEN 'sex' END), '');
"""

# Pairs of the same surname and birth day, or of the same name and address, that numbers call one person or two: trusted
# numbers where the data have them, else the numbers as written, where they are the same or not alike at all.
_TOLD = f"""
CREATE OR REPLACE TEMP TABLE told AS
WITH numbered AS (
    SELECT node, person_group, trusted_number IS NOT NULL AS is_trusted, number_as_written, surname, given_first, sex,
        CASE WHEN NOT is_approximate THEN day END AS day, month, year, address
    FROM nodes JOIN groups USING (node)
    WHERE number_as_written IS NOT NULL AND surname IS NOT NULL AND given_first IS NOT NULL
), trust AS (
    SELECT count(*) FILTER (is_trusted) > count(*) // 4 AS is_usual FROM numbered
), known AS (
    SELECT * FROM numbered WHERE is_trusted OR NOT (SELECT is_usual FROM trust)
), share AS (
    SELECT 1 + (SELECT count(*) FROM nodes) // {_NODES_COUNTED} AS of_days
), one_day AS (
    SELECT * FROM known WHERE day IS NOT NULL AND hash(year, month, day) % (SELECT of_days FROM share) = 0
    QUALIFY count(*) OVER (PARTITION BY surname, year, month, day) BETWEEN 2 AND {_FAMILY}
), one_home AS (
    SELECT * FROM known WHERE hash(address) % (SELECT of_days FROM share) = 0
    QUALIFY count(*) OVER (PARTITION BY surname, given_first, address) BETWEEN 2 AND {_FAMILY}
), pairs AS (
    SELECT l.node AS node_l, r.node AS node_r
    FROM one_day AS l JOIN one_day AS r USING (surname, year, month, day)
    WHERE l.node < r.node AND (l.given_first <> r.given_first OR l.sex <> r.sex)
    UNION
    SELECT l.node, r.node
    FROM one_home AS l JOIN one_home AS r USING (surname, given_first, address)
    WHERE l.node < r.node AND l.year <> r.year
)
SELECT node_l, node_r, (SELECT is_usual FROM trust) AS is_sure,
    CASE WHEN (SELECT is_usual FROM trust) THEN l.person_group = r.person_group
        ELSE l.number_as_written = r.number_as_written END AS is_one
FROM pairs JOIN known AS l ON l.node = node_l JOIN known AS r ON r.node = node_r
WHERE (SELECT is_usual FROM trust) OR l.number_as_written = r.number_as_written
    OR damerau_levenshtein(l.number_as_written, r.number_as_written) > 3
"""

#: Guards that evidence may lift. What differs in everything, or in a number of one's own, stays apart.
_LIFTABLE = ["given_name", "sex", "given_name+sex", "birth_date", "given_name+birth_date"]

# Every pair that a guard may stop or that tells of guards, judged once. Who has one given name, one birth day and one
# sex in both records needs no judging.
_JUDGED = """
CREATE OR REPLACE TEMP TABLE judged AS
WITH unlike AS (
    SELECT node_l, node_r
    FROM scored JOIN faces AS l ON l.node = node_l JOIN faces AS r ON r.node = node_r
    WHERE weight >= $above
        AND NOT coalesce(l.given_first = r.given_first AND l.birth_day = r.birth_day AND l.sex = r.sex, false)
), pairs AS (
    FROM unlike UNION SELECT node_l, node_r FROM told
)
SELECT node_l, node_r, guard_of(l, r) AS guard, evidence(l, r) AS evidence, surroundings(l, r) AS surroundings,
    coalesce(l.number_as_written = r.number_as_written OR l.france_travail_id = r.france_travail_id, false)
        AND NOT (a_generation_apart(l, r) AND coalesce(l.number_year, r.number_year) IS NOT NULL) AS number_agrees
FROM pairs JOIN faces AS l ON l.node = node_l JOIN faces AS r ON r.node = node_r
"""

_LIFTED = f"""
CREATE OR REPLACE TEMP TABLE lifted AS
WITH prior AS (
    SELECT guard, evidence, CASE WHEN contains(guard, 'birth_date') AND evidence <> 'number alike'
        THEN least(share, {_PRIOR_SHARE_OF_OTHER_BIRTHS}) ELSE share END AS share
    FROM (SELECT unnest({list(_PRIOR_SHARE)}) AS evidence, unnest({list(_PRIOR_SHARE.values())}) AS share)
    CROSS JOIN (SELECT unnest({_LIFTABLE}) AS guard)
), seen AS (
    SELECT replace(guard, 'number+', '') AS guard, evidence, surroundings, -- numbers tell, and are not told of
        CASE WHEN is_one THEN 1 / CASE WHEN is_sure THEN 1 ELSE $reliability END ELSE 0 END AS one
    FROM told JOIN judged USING (node_l, node_r)
), coarse AS (
    SELECT guard, evidence,
        (least(coalesce(sum(one), 0), count(one)) + {_PRIOR_PAIRS} * any_value(share)) / (count(one) + {_PRIOR_PAIRS})
            AS share
    FROM prior LEFT JOIN seen USING (guard, evidence) GROUP BY guard, evidence
), fine AS (
    SELECT guard, evidence, surroundings,
        (least(sum(one), count(*)) + {_FINE_PAIRS} * any_value(share)) / (count(*) + {_FINE_PAIRS}) AS share
    FROM seen JOIN coarse USING (guard, evidence) GROUP BY guard, evidence, surroundings
)
SELECT guard, evidence, surroundings, coalesce(fine.share, coarse.share) AS share
FROM coarse CROSS JOIN (
    SELECT concat_ws(' ', address, place) AS surroundings
    FROM (SELECT unnest(['true', 'false', NULL]) AS address) CROSS JOIN
        (SELECT unnest(['true', 'false', 'unknown']) AS place)
) LEFT JOIN fine USING (guard, evidence, surroundings)
WHERE coalesce(fine.share, coarse.share) >= {_LIFTED_FROM}
"""

_GUARDED = """
CREATE OR REPLACE TEMP TABLE guarded AS
SELECT node_l, node_r, judged.guard
FROM judged SEMI JOIN (FROM scored WHERE weight >= $above) AS heavy USING (node_l, node_r)
    ANTI JOIN lifted USING (guard, evidence, surroundings)
WHERE judged.guard IS NOT NULL AND NOT number_agrees
"""


def tell(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the temporary table `told` (node_l, node_r, is_sure, is_one): pairs of relatives or of one person, which
    numbers tell apart. Reads `nodes` and `groups`."""
    connection.execute(_TOLD)


def guard(connection: duckdb.DuckDBPyConnection, *, above: float, number_reliability: float) -> None:
    """Make the temporary table `guarded` (node_l, node_r, guard): the pairs of `scored` that must not be joined.

    `guard` names the traits that differ. `above`: lighter pairs need no guard. `number_reliability`: how often the
    numbers of one person, as they are written, are the same and not another altogether. Reads `nodes`, `told`, `faces`,
    which holds the nodes of both, and the macros of `linkage`.
    """
    connection.execute(_GIVEN_NAMES_OF_ONE_SEX)
    connection.execute(_MACROS)
    connection.execute(_JUDGED, {"above": above})
    connection.execute(_LIFTED, {"reliability": number_reliability})
    connection.execute(_GUARDED, {"above": above})
    connection.execute("DROP TABLE told; DROP TABLE judged; DROP TABLE lifted")
