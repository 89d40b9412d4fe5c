-- Barriers of jobseekers declared three months before the month, and what became of them.
-- One row per person and barrier, of persons still registered: a barrier of somebody who left is not lifted.
-- « Treated »: an action or a training prescribed or begun since. « Lifted »: no longer declared.
-- grain: space, person, barrier
WITH declared AS (
    SELECT earlier.space, earlier.person, unnest(earlier.barriers) AS barrier
    FROM jobseeker_months__earlier AS earlier
    CROSS JOIN period
    WHERE earlier.month = strftime(period.first_day - INTERVAL 3 MONTH, '%Y-%m')
),
acted AS (
    SELECT DISTINCT space, person FROM jobseeker_actions WHERE is_recent
)
SELECT
    period.month,
    declared.space,
    declared.person,
    now.sex,
    now.age_band,
    now.residence,
    declared.barrier,
    acted.person IS NOT NULL AS is_treated,
    NOT list_contains(now.barriers, declared.barrier) AS is_lifted
FROM declared
CROSS JOIN period
JOIN jobseeker_months AS now ON now.space = declared.space AND now.person = declared.person
LEFT JOIN acted ON acted.space = declared.space AND acted.person = declared.person
