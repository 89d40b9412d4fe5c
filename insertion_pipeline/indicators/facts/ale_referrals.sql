-- Persons whom somebody referred to a local employment agency in the six months that end with the month, and whether
-- they worked.
-- One row per person, agency and day of referral. « Worked »: at least one hour, in any agency, in the month of the
-- referral or the three that follow. « referral_lag »: months between the referral and the month.
-- over months: ale_activity__prestations
-- grain: space, person, agency, referred_on
WITH referrals AS (
    SELECT
        prestations._space AS space,
        prestations.person,
        prestations._partner AS agency,
        prestations.date_adressage AS referred_on,
        max(prestations.adresse_par) AS referred_by,
        max_by(prestations.issue_adressage, prestations._month) AS outcome,
        max_by(prestations.sex, prestations._month) AS sex,
        max_by(prestations.age_band, prestations._month) AS age_band,
        max_by(prestations.person_residence, prestations._month) AS residence
    FROM ale_activity__prestations AS prestations
    CROSS JOIN period
    WHERE prestations.person IS NOT NULL
        AND prestations._month <= period.month
        AND prestations.date_adressage <= period.last_day
        AND date_diff('month', prestations.date_adressage, period.last_day) < 6
    GROUP BY ALL
),
hours AS (
    SELECT
        _space AS space,
        person,
        CAST(_month || '-01' AS DATE) AS worked_in,
        sum(CAST(coalesce(heures, 0) AS DECIMAL(18, 6))) AS hours_worked
    FROM ale_activity__prestations
    WHERE person IS NOT NULL
    GROUP BY ALL
),
worked AS (
    SELECT referrals.space, referrals.person, referrals.agency, referrals.referred_on,
        max(hours.hours_worked) AS most_hours
    FROM referrals
    JOIN hours
        ON hours.space = referrals.space AND hours.person = referrals.person
        AND hours.worked_in >= date_trunc('month', referrals.referred_on)
        AND hours.worked_in <= referrals.referred_on + INTERVAL 3 MONTH
    GROUP BY ALL
)
SELECT
    period.month,
    referrals.space,
    referrals.person,
    referrals.sex,
    referrals.age_band,
    referrals.residence,
    referrals.agency,
    units.territory_code AS deposit_territory,
    referrals.referred_on,
    referrals.referred_by,
    referrals.outcome AS referral_outcome,
    date_diff('month', referrals.referred_on, period.last_day) AS referral_lag,
    coalesce(worked.most_hours >= parameters.minimum_hours_worked, FALSE) AS has_worked
FROM referrals
CROSS JOIN period
CROSS JOIN parameters
LEFT JOIN worked
    ON worked.space = referrals.space AND worked.person = referrals.person
    AND worked.agency = referrals.agency AND worked.referred_on = referrals.referred_on
LEFT JOIN reporting_units AS units ON units.unit = referrals.agency
