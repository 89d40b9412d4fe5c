-- Persons whom the departments invited to appointments, as the exports of appointments tell.
-- One row per person and paying council. « Booked »: took an appointment herself. « Supported »: the first support
-- appointment that she came to, from the orientation appointment that she came to, else from her entry in the system;
-- whoever has not come yet stays in the denominator of a mature cohort, and a negative delay is no success.
-- over months: department_appointments__rendez_vous
-- grain: space, person, paying_council
WITH appointments AS (
    SELECT
        rendez_vous._space AS space,
        rendez_vous.person,
        coalesce(units.territory_code, 'FR') AS paying_council,
        rendez_vous.sex,
        rendez_vous.age_band,
        rendez_vous.person_residence AS residence,
        rendez_vous.appointment_date AS held_on,
        rendez_vous.booked_on,
        rendez_vous.appointment_status AS status,
        rendez_vous.is_self_booked,
        coalesce(rendez_vous.created_on, rendez_vous.rights_opening_date) AS known_on,
        rendez_vous.first_invitation_date AS invited_on,
        lower(strip_accents(rendez_vous.appointment_reason)) LIKE '%accompagnement%' AS is_support,
        lower(strip_accents(rendez_vous.appointment_reason)) LIKE '%orientation%' AS is_orientation
    FROM department_appointments__rendez_vous AS rendez_vous
    CROSS JOIN period
    LEFT JOIN reporting_units AS units ON units.unit = rendez_vous._partner
    WHERE rendez_vous._month <= period.month AND rendez_vous.person IS NOT NULL
),
persons AS (
    SELECT
        appointments.space,
        appointments.person,
        appointments.paying_council,
        max(sex) AS sex,
        max(age_band) AS age_band,
        max(residence) AS residence,
        min(known_on) AS known_on,
        min(invited_on) AS invited_on,
        min(booked_on) FILTER (WHERE booked_on >= invited_on) AS first_booked_on,
        bool_or(coalesce(is_self_booked, FALSE)) AS has_booked,
        min(held_on) FILTER (WHERE is_orientation AND status = 'seen' AND held_on <= period.last_day) AS oriented_on,
        min(held_on) FILTER (WHERE is_support) AS first_support_on,
        min(held_on) FILTER (WHERE is_support AND status = 'seen' AND held_on <= period.last_day) AS supported_on,
        bool_or(is_orientation) AS has_orientation_follow_up,
        bool_or(is_support) AS has_support_follow_up
    FROM appointments
    CROSS JOIN period
    GROUP BY ALL
)
SELECT
    period.month,
    persons.space,
    persons.person,
    persons.sex,
    persons.age_band,
    persons.residence,
    persons.paying_council,
    persons.invited_on,
    date_diff('month', persons.invited_on, period.last_day) AS invitation_lag,
    persons.has_booked,
    CASE WHEN persons.first_booked_on <= period.last_day
        THEN date_diff('day', persons.invited_on, persons.first_booked_on) END AS booking_delay_days,
    persons.has_orientation_follow_up,
    persons.has_support_follow_up,
    persons.oriented_on IS NOT NULL AS has_come_to_orientation,
    date_diff('month', persons.known_on, period.last_day) AS follow_up_lag,
    date_diff('day', persons.known_on, persons.oriented_on) AS orientation_delay_days,
    date_diff('month', coalesce(persons.oriented_on, persons.known_on), period.last_day) AS support_lag,
    CASE WHEN persons.supported_on >= coalesce(persons.oriented_on, persons.known_on)
        THEN date_diff('day', coalesce(persons.oriented_on, persons.known_on), persons.supported_on)
    END AS support_delay_days
FROM persons
CROSS JOIN period
