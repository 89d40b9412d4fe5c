-- Persons followed three months before the month: still followed, gone for a stated reason, or lost.
-- One row per person. « Rupture »: nobody has followed her in the month nor in the two before, and nobody stated why.
-- « Resumed »: followed again in the month after two months or more without anybody. Meaningful only where every
-- expected file of the months is in: the indicators count nowhere else.
-- grain: space, person
WITH before AS (
    SELECT earlier.space, earlier.person,
        bool_or(earlier.month = strftime(period.first_day - INTERVAL 3 MONTH, '%Y-%m')) AS was_followed,
        bool_or(earlier.month IN (
            strftime(period.first_day - INTERVAL 1 MONTH, '%Y-%m'), strftime(period.first_day - INTERVAL 2 MONTH, '%Y-%m')
        )) AS was_followed_since
    FROM network_follow_ups__earlier AS earlier
    CROSS JOIN period
    WHERE earlier.month >= strftime(period.first_day - INTERVAL 3 MONTH, '%Y-%m')
    GROUP BY ALL
),
now AS (
    SELECT DISTINCT space, person FROM network_follow_ups
),
places AS (  -- where she lives: in the month when somebody knows her, else where she was last known
    SELECT earlier.space, earlier.person,
        max_by(earlier.sex, earlier.month) AS sex,
        max_by(earlier.age_band, earlier.month) AS age_band,
        max_by(earlier.residence, earlier.month) AS residence
    FROM network_person_months__earlier AS earlier
    CROSS JOIN period
    WHERE earlier.month >= strftime(period.first_day - INTERVAL 3 MONTH, '%Y-%m')
        AND earlier.n_families_accompanying > 0
    GROUP BY earlier.space, earlier.person
)
SELECT
    period.month,
    before.space,
    before.person,
    places.sex,
    places.age_band,
    places.residence,
    now.person IS NOT NULL OR before.was_followed_since AS is_still_followed,
    now.person IS NULL AND NOT before.was_followed_since AND closings.person IS NULL AS is_rupture,
    now.person IS NOT NULL AND NOT before.was_followed_since AS is_resumed
FROM before
CROSS JOIN period
JOIN places ON places.space = before.space AND places.person = before.person
LEFT JOIN now ON now.space = before.space AND now.person = before.person
LEFT JOIN network_closings AS closings ON closings.space = before.space AND closings.person = before.person
WHERE before.was_followed
