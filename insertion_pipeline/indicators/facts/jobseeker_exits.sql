-- Persons who left the lists of the employment service in the month, by the reason that it gives.
-- One row per person and country. An exit is not a return to work: only a declared employment is one. The reasons are
-- texts (no official list of their codes was found).
-- grain: space, person
WITH exits AS (
    SELECT
        _space AS space, person, sex, age_band, person_residence AS residence, date AS left_on,
        lower(strip_accents(motif)) AS reason, FALSE AS is_struck_off, _month
    FROM ft_registrations__cessations
    WHERE person IS NOT NULL
    UNION ALL
    SELECT
        _space, person, sex, age_band, person_residence, date, lower(strip_accents(motif)), TRUE, _month
    FROM ft_registrations__radiations
    WHERE person IS NOT NULL
    UNION ALL
    SELECT
        _space, person, sex, age_band, person_residence, date_cessation, lower(strip_accents(motif_cessation)),
        coalesce(regexp_matches(lower(strip_accents(motif_cessation)), 'radiation|exclu|sanction'), FALSE), _month
    FROM forem_jobseekers__demandeurs
    WHERE person IS NOT NULL AND date_cessation IS NOT NULL
),
ranked AS (
    SELECT
        exits.*,
        row_number() OVER (
            PARTITION BY exits.space, exits.person
            ORDER BY exits.left_on DESC, exits.is_struck_off, exits.reason, exits.residence
        ) AS recency
    FROM exits
    CROSS JOIN period
    WHERE exits._month = period.month AND exits.left_on BETWEEN period.first_day AND period.last_day
)
SELECT
    period.month,
    ranked.space,
    ranked.person,
    ranked.sex,
    ranked.age_band,
    ranked.residence,
    ranked.left_on,
    CASE
        WHEN ranked.is_struck_off THEN 'RADIATION'
        WHEN regexp_matches(ranked.reason, 'formation|stage|etudes') THEN 'FORMATION'
        WHEN regexp_matches(ranked.reason, 'actualis|renouvel') THEN 'DEFAUT_ACTUALISATION'
        WHEN regexp_matches(ranked.reason, 'retraite|dispens|pension') THEN 'RETRAITE'
        WHEN regexp_matches(ranked.reason, 'malad|matern|accident|incapacite|inaptitude') THEN 'ARRET'
        WHEN regexp_matches(ranked.reason, 'reprise|emploi|travail|embauche|engage|creation|independant')
            AND NOT regexp_matches(ranked.reason, 'recherche|sans emploi|perte') THEN 'EMPLOI_DECLARE'
        WHEN ranked.reason IS NOT NULL THEN 'AUTRE'
    END AS exit_reason
FROM ranked
CROSS JOIN period
WHERE ranked.recency = 1
