-- Persons of the departments' lists, by month of entry: how long before an orientation, then a contract.
-- One row per person and paying council whose right opened, or whose orientation was decided, in the seven months that
-- end with the month. The clock starts the day the right opened (as the list says); whoever is not oriented yet stays
-- in the denominator. « entry_lag », « orientation_lag »: months between that event and the month. The contract's clock
-- starts again with a new orientation: the list's orientation date is the latest one.
-- grain: space, person, paying_council
WITH lists AS (
    SELECT
        list._space AS space,
        list.person,
        units.territory_code AS paying_council,
        list.sex,
        list.age_band,
        list.person_residence AS residence,
        list.rights_opening_date AS entered_on,
        CASE WHEN list.orientation_date <= period.last_day THEN list.orientation_date END AS oriented_on,
        list.orientation_type,
        CASE WHEN list.cer_signed_on <= period.last_day THEN list.cer_signed_on END AS contracted_on,
        list.last_appointment_status = 'seen' AND list.last_appointment_date <= period.last_day
            AND list.last_appointment_date >= period.first_day - INTERVAL 2 MONTH AS is_seen_lately,
        list.support_end_date <= period.last_day AS is_support_over,
        row_number() OVER (
            PARTITION BY list._space, list.person, units.territory_code
            ORDER BY
                list.rights_opening_date DESC NULLS LAST, list.orientation_date DESC NULLS LAST,
                list.cer_signed_on DESC NULLS LAST, list.orientation_type, list._delivery DESC
        ) AS recency
    FROM department_list__beneficiaires AS list
    CROSS JOIN period
    LEFT JOIN reporting_units AS units ON units.unit = list._partner
    WHERE list._month = period.month AND list.person IS NOT NULL
),
dated AS (
    SELECT
        lists.*,
        date_diff('month', lists.entered_on, period.last_day) AS entry_lag,
        date_diff('month', lists.oriented_on, period.last_day) AS orientation_lag,
        -- an orientation before the right opened belongs to an earlier stay: not a success, still in the denominator
        CASE WHEN lists.oriented_on >= lists.entered_on
            THEN date_diff('day', lists.entered_on, lists.oriented_on) END AS orientation_delay_days,
        CASE WHEN lists.contracted_on >= lists.oriented_on
            THEN date_diff('day', lists.oriented_on, lists.contracted_on) END AS contract_delay_days
    FROM lists
    CROSS JOIN period
    WHERE lists.recency = 1
)
SELECT
    period.month,
    dated.space,
    dated.person,
    dated.sex,
    dated.age_band,
    dated.residence,
    dated.paying_council,
    dated.entered_on,
    dated.oriented_on,
    dated.orientation_type,
    dated.contracted_on,
    dated.entry_lag,
    dated.orientation_lag,
    dated.orientation_delay_days,
    dated.contract_delay_days,
    dated.contracted_on >= dated.oriented_on
        AND dated.contracted_on <= dated.oriented_on + INTERVAL 1 MONTH AS is_contracted_within_month,
    -- dropped out: oriented, support not ended, and neither seen nor under a new contract for three months
    dated.oriented_on IS NOT NULL
        AND NOT coalesce(dated.is_support_over, FALSE)
        AND NOT coalesce(dated.is_seen_lately, FALSE)
        AND NOT coalesce(dated.contracted_on >= period.first_day - INTERVAL 2 MONTH, FALSE) AS has_dropped_out,
    coalesce(dated.is_support_over, FALSE) AS is_support_over,
    -- what a median with those who wait needs: days so far, and whether the wait is over
    CASE
        WHEN dated.oriented_on >= dated.entered_on THEN date_diff('day', dated.entered_on, dated.oriented_on)
        ELSE date_diff('day', dated.entered_on, period.last_day)
    END AS orientation_wait_days,
    coalesce(dated.oriented_on >= dated.entered_on, FALSE) AS is_orientation_wait_over,
    CASE
        WHEN dated.contracted_on >= dated.oriented_on THEN date_diff('day', dated.oriented_on, dated.contracted_on)
        ELSE date_diff('day', dated.oriented_on, period.last_day)
    END AS contract_wait_days,
    coalesce(dated.contracted_on >= dated.oriented_on, FALSE) AS is_contract_wait_over,
    CASE
        WHEN dated.orientation_delay_days IS NULL THEN 'EN_ATTENTE'
        WHEN dated.orientation_delay_days < 30 THEN 'D0T29'
        WHEN dated.orientation_delay_days < 60 THEN 'D30T59'
        WHEN dated.orientation_delay_days < 90 THEN 'D60T89'
        ELSE 'D_GE90'
    END AS delay_band
FROM dated
CROSS JOIN period
WHERE dated.entry_lag BETWEEN 0 AND 6 OR dated.orientation_lag BETWEEN 0 AND 6
