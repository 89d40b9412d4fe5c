-- Persons known to local employment agencies in the month, over all the agencies together.
-- One row per person. Caps hold for the person, over all agencies: general hours a month, the extended cap of
-- gardening, surveillance and schools, the seasonal cap of farms, and the calendar year.
-- over months: ale_activity__prestations
-- grain: space, person
WITH years AS (
    SELECT
        prestations._space AS space,
        prestations.person,
        sum(CAST(coalesce(prestations.heures, 0) AS DECIMAL(18, 6))) AS hours_in_year
    FROM ale_activity__prestations AS prestations
    CROSS JOIN period
    WHERE substr(prestations._month, 1, 4) = substr(period.month, 1, 4) AND prestations._month <= period.month
    GROUP BY prestations._space, prestations.person
),
months AS (
    SELECT
        space,
        person,
        max(sex) AS sex,
        max(age_band) AS age_band,
        max(residence) AS residence,
        count(DISTINCT agency) AS n_agencies,
        sum(hours_worked) AS hours_worked,
        coalesce(sum(CASE WHEN activity_group = 'AGRICOLE' THEN hours_worked END), 0) AS farm_hours,
        coalesce(sum(CASE
            WHEN activity_group = 'AGRICOLE' THEN 0
            WHEN activity_group IN ('JARDINAGE', 'SURVEILLANCE') AND user_type = 'particulier' THEN hours_worked
            WHEN user_type = 'enseignement' THEN hours_worked
        END), 0) AS extended_hours
    FROM ale_work_months
    GROUP BY space, person
),
statuses AS (
    SELECT prestations._space AS space, prestations.person, min(prestations.statut) AS status
    FROM ale_activity__prestations AS prestations
    CROSS JOIN period
    WHERE prestations._month = period.month
    GROUP BY prestations._space, prestations.person
)
SELECT
    period.month,
    months.space,
    months.person,
    months.sex,
    months.age_band,
    months.residence,
    statuses.status AS worker_status,
    months.n_agencies,
    months.hours_worked,
    years.hours_in_year,
    months.hours_worked >= parameters.minimum_hours_worked AS is_worker,
    months.hours_worked - months.extended_hours - months.farm_hours > parameters.ale_cap_general AS exceeds_general_cap,
    months.hours_worked - months.farm_hours > parameters.ale_cap_extended AS exceeds_extended_cap,
    months.hours_worked > parameters.ale_cap_farm AS exceeds_farm_cap,
    years.hours_in_year > parameters.ale_cap_year AS exceeds_year_cap,
    years.hours_in_year > parameters.ale_near_cap_share * parameters.ale_cap_year AS is_near_year_cap
FROM months
CROSS JOIN period
CROSS JOIN parameters
JOIN years ON years.space = months.space AND years.person = months.person
LEFT JOIN statuses ON statuses.space = months.space AND statuses.person = months.person
