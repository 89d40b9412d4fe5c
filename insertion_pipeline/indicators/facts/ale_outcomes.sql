-- What became of persons who worked through local employment agencies three, six and twelve months before the month.
-- One row per person and number of months. Employment is what a named source observes (the reason of a cessation at
-- FOREm, the reason of an exit that an agency declares); absence from a list is never employment: it is unknown.
-- over months: ale_activity__prestations, forem_jobseekers__demandeurs
-- grain: space, person, months_after
WITH hours AS (
    SELECT
        _space AS space,
        person,
        CAST(_month || '-01' AS DATE) AS worked_in,
        sum(CAST(coalesce(heures, 0) AS DECIMAL(18, 6))) AS hours_worked,
        max(sex) AS sex,
        max(age_band) AS age_band,
        max(person_residence) AS residence
    FROM ale_activity__prestations
    WHERE person IS NOT NULL
    GROUP BY ALL
),
workers AS (
    SELECT hours.*, date_diff('month', hours.worked_in, period.first_day) AS months_after
    FROM hours
    CROSS JOIN period
    CROSS JOIN parameters
    WHERE hours.hours_worked >= parameters.minimum_hours_worked
        AND date_diff('month', hours.worked_in, period.first_day) IN (3, 6, 12)
),
reasons AS (  -- what a source says of the end: the agency's own exit, FOREm's cessation
    SELECT _space AS space, person, date_sortie AS ended_on, lower(strip_accents(motif_sortie)) AS reason
    FROM ale_activity__prestations
    CROSS JOIN period
    WHERE person IS NOT NULL AND date_sortie IS NOT NULL AND _month <= period.month
    UNION ALL
    SELECT _space, person, date_cessation, lower(strip_accents(motif_cessation))
    FROM forem_jobseekers__demandeurs
    CROSS JOIN period
    WHERE person IS NOT NULL AND date_cessation IS NOT NULL AND _month <= period.month
),
ended AS (
    SELECT
        workers.space, workers.person, workers.months_after,
        bool_or(coalesce(regexp_matches(reasons.reason, 'formation|etudes'), FALSE)) AS is_in_training,
        bool_or(coalesce(
            regexp_matches(reasons.reason, 'emploi|travail|engage|embauche|cdi|cdd|independant')
            AND NOT regexp_matches(reasons.reason, 'sans emploi|perte|recherche|formation|incapacite|inaptitude|refus'),
            FALSE
        )) AS is_employed
    FROM workers
    CROSS JOIN period
    JOIN reasons
        ON reasons.space = workers.space AND reasons.person = workers.person
        AND reasons.ended_on >= workers.worked_in AND reasons.ended_on <= period.last_day
    GROUP BY ALL
),
registered AS (
    SELECT DISTINCT demandeurs._space AS space, demandeurs.person
    FROM forem_jobseekers__demandeurs AS demandeurs
    CROSS JOIN period
    WHERE demandeurs._month = period.month
        AND demandeurs.person IS NOT NULL
        AND coalesce(demandeurs.date_cessation > period.last_day, TRUE)
)
SELECT
    period.month,
    workers.space,
    workers.person,
    workers.sex,
    workers.age_band,
    workers.residence,
    workers.months_after,
    CASE
        WHEN now.hours_worked >= parameters.minimum_hours_worked THEN 'TOUJOURS_ALE'
        WHEN ended.is_employed THEN 'EMPLOI_OBSERVE'
        WHEN ended.is_in_training THEN 'FORMATION'
        WHEN registered.person IS NOT NULL THEN 'INSCRIT'
        WHEN ended.person IS NOT NULL THEN 'AUTRE_SORTIE'
        ELSE 'INCONNU'
    END AS situation_after
FROM workers
CROSS JOIN period
CROSS JOIN parameters
LEFT JOIN hours AS now
    ON now.space = workers.space AND now.person = workers.person AND now.worked_in = period.first_day
LEFT JOIN ended
    ON ended.space = workers.space AND ended.person = workers.person AND ended.months_after = workers.months_after
LEFT JOIN registered ON registered.space = workers.space AND registered.person = workers.person
