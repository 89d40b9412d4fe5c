-- Passages between actors: a family begins to follow in the month a person whom another followed before.
-- One row per person and family that begins. « From » is the family that followed her last, in the twelve months
-- before, other than the one that begins; « delay »: whole months between that follow-up and this one. A family that
-- already followed her the month before begins nothing.
-- grain: space, person, to_family
WITH began AS (
    SELECT follow_ups.space, follow_ups.person, follow_ups.family
    FROM network_follow_ups AS follow_ups
    CROSS JOIN period
    ANTI JOIN (
        SELECT earlier.space, earlier.person, earlier.family
        FROM network_follow_ups__earlier AS earlier
        CROSS JOIN period
        WHERE earlier.month = period.previous_month
    ) AS followed
        ON followed.space = follow_ups.space AND followed.person = follow_ups.person
        AND followed.family = follow_ups.family
),
came_from AS (
    SELECT began.space, began.person, began.family AS to_family,
        max(earlier.month) AS left_in,
        min_by(earlier.family, (-CAST(replace(earlier.month, '-', '') AS INTEGER), earlier.family)) AS from_family
    FROM began
    JOIN network_follow_ups__earlier AS earlier
        ON earlier.space = began.space AND earlier.person = began.person AND earlier.family <> began.family
    GROUP BY ALL
)
SELECT
    period.month,
    came_from.space,
    came_from.person,
    persons.sex,
    persons.age_band,
    persons.residence,
    came_from.from_family,
    came_from.to_family,
    came_from.from_family || '>' || came_from.to_family AS passage,
    date_diff('month', CAST(came_from.left_in || '-01' AS DATE), period.first_day) AS delay_months
FROM came_from
CROSS JOIN period
JOIN network_person_months AS persons ON persons.space = came_from.space AND persons.person = came_from.person
