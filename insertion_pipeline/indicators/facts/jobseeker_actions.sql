-- Jobseekers for whom France Travail reports an action or a training.
-- One row per person. « Recent »: prescribed, begun or done in the three months that end with the month.
-- grain: space, person
WITH every AS (
    SELECT
        _space AS space, person, _month,
        greatest(date_prescription, date_debut, date_realisation_action) AS acted_on
    FROM ft_actions__actions
    UNION ALL
    SELECT _space, person, _month, date_entree
    FROM ft_actions__formations
)
SELECT
    period.month,
    every.space,
    every.person,
    max(every.acted_on) AS acted_on,
    bool_or(coalesce(every.acted_on >= period.first_day - INTERVAL 2 MONTH, FALSE)) AS is_recent
FROM every
CROSS JOIN period
WHERE every._month = period.month AND every.person IS NOT NULL AND every.acted_on <= period.last_day
GROUP BY ALL
