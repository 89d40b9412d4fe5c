-- Persons who left local employment agencies in the month: four months without hours, July and August not counted, or
-- an exit that the agency declares.
-- One row per person. An exit without hours is known in the month in which the fourth of them ends; whoever had left
-- by her agency's word since she last worked does not leave a second time.
-- over months: ale_activity__prestations
-- grain: space, person
WITH calendar AS (  -- the months in which hours are looked for, newest first
    SELECT
        strftime(months.day, '%Y-%m') AS month,
        row_number() OVER (ORDER BY months.day DESC) AS rank
    FROM (
        SELECT unnest(generate_series(first_day - INTERVAL 9 MONTH, first_day, INTERVAL 1 MONTH)) AS day FROM period
    ) AS months
    WHERE month(months.day) NOT IN (7, 8)
),
hours AS (
    SELECT
        _space AS space,
        person,
        _month AS worked_month,
        sum(CAST(coalesce(heures, 0) AS DECIMAL(18, 6))) AS hours_worked
    FROM ale_activity__prestations
    WHERE person IS NOT NULL
    GROUP BY ALL
),
last_worked AS (
    SELECT space, person, max(worked_month) AS last_month
    FROM hours
    CROSS JOIN period
    WHERE hours_worked > 0 AND worked_month <= period.month
    GROUP BY ALL
),
told AS (
    SELECT _space AS space, person, max(date_sortie) AS left_on
    FROM ale_activity__prestations
    CROSS JOIN period
    WHERE person IS NOT NULL AND _month <= period.month AND date_sortie < period.first_day
    GROUP BY ALL
),
silent AS (  -- worked in the fifth month back, or in the holidays just after it, and in none of the four since
    SELECT last_worked.space, last_worked.person
    FROM last_worked
    LEFT JOIN told ON told.space = last_worked.space AND told.person = last_worked.person
    JOIN calendar AS fourth ON fourth.rank = 4
    JOIN calendar AS fifth ON fifth.rank = 5
    CROSS JOIN period
    WHERE month(period.first_day) NOT IN (7, 8)
        AND last_worked.last_month >= fifth.month AND last_worked.last_month < fourth.month
        AND coalesce(strftime(told.left_on, '%Y-%m') < last_worked.last_month, TRUE)
),
declared AS (
    SELECT _space AS space, person, max(motif_sortie) AS reason
    FROM ale_activity__prestations
    CROSS JOIN period
    WHERE person IS NOT NULL AND _month <= period.month
        AND date_sortie BETWEEN period.first_day AND period.last_day
    GROUP BY ALL
),
known AS (
    SELECT
        _space AS space,
        person,
        max_by(sex, _month) AS sex,
        max_by(age_band, _month) AS age_band,
        max_by(person_residence, _month) AS residence
    FROM ale_activity__prestations
    CROSS JOIN period
    WHERE person IS NOT NULL AND _month <= period.month
    GROUP BY ALL
)
SELECT
    period.month,
    known.space,
    known.person,
    known.sex,
    known.age_band,
    known.residence,
    CASE WHEN declared.person IS NOT NULL THEN 'DECLAREE' ELSE 'QUATRE_MOIS_SANS_HEURE' END AS exit_kind
FROM known
CROSS JOIN period
LEFT JOIN declared ON declared.space = known.space AND declared.person = known.person
LEFT JOIN silent ON silent.space = known.space AND silent.person = known.person
WHERE declared.person IS NOT NULL OR silent.person IS NOT NULL
