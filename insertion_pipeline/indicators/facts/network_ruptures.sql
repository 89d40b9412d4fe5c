-- Persons followed three months before the month: still followed, gone for a stated reason, or lost.
-- One row per person. « Rupture »: nobody has followed her in the month nor in the two before, and nobody stated why.
-- « Resumed »: followed again in the month after two months or more without anybody. Meaningful only where every
-- expected file of the months is in: the indicators count nowhere else.
-- grain: space, person
WITH followed AS (  -- whom somebody followed in one of the three months before, and where she lived then
    SELECT
        earlier.space,
        earlier.person,
        earlier.sex,
        earlier.age_band,
        earlier.residence,
        date_diff('month', CAST(earlier.month || '-01' AS DATE), period.first_day) AS months_ago
    FROM network_person_months__earlier AS earlier
    JOIN period ON earlier.month >= strftime(period.first_day - INTERVAL 3 MONTH, '%Y-%m')
    WHERE earlier.n_families_accompanying > 0
),
now AS (
    SELECT space, person FROM network_person_months WHERE n_families_accompanying > 0
)
SELECT
    period.month,
    before.space,
    before.person,
    -- as last known to whoever followed her
    coalesce(last.sex, second.sex, before.sex) AS sex,
    coalesce(last.age_band, second.age_band, before.age_band) AS age_band,
    coalesce(last.residence, second.residence, before.residence) AS residence,
    coalesce(now.person, last.person, second.person) IS NOT NULL AS is_still_followed,
    coalesce(now.person, last.person, second.person, closings.person) IS NULL AS is_rupture,
    now.person IS NOT NULL AND coalesce(last.person, second.person) IS NULL AS is_resumed
FROM followed AS before
CROSS JOIN period
LEFT JOIN followed AS second
    ON second.months_ago = 2 AND second.space = before.space AND second.person = before.person
LEFT JOIN followed AS last
    ON last.months_ago = 1 AND last.space = before.space AND last.person = before.person
LEFT JOIN now ON now.space = before.space AND now.person = before.person
LEFT JOIN network_closings AS closings ON closings.space = before.space AND closings.person = before.person
WHERE before.months_ago = 3
