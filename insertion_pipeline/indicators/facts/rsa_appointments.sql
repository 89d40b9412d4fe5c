-- Appointments of the month that the departments' lists report (the last one of each person).
-- One row per person and paying council. A status still to be entered is unknown, and in no rate.
-- grain: space, person, paying_council
WITH appointments AS (
    SELECT
        list._space AS space,
        list.person,
        units.territory_code AS paying_council,
        list.sex,
        list.age_band,
        list.person_residence AS residence,
        list.last_appointment_date AS held_on,
        list.last_appointment_status AS appointment_status,
        row_number() OVER (
            PARTITION BY list._space, list.person, units.territory_code
            ORDER BY list.last_appointment_date DESC, list.last_appointment_status, list._delivery DESC
        ) AS recency
    FROM department_list__beneficiaires AS list
    CROSS JOIN period
    LEFT JOIN reporting_units AS units ON units.unit = list._partner
    WHERE list._month = period.month
        AND list.person IS NOT NULL
        AND list.last_appointment_date BETWEEN period.first_day AND period.last_day
)
SELECT
    period.month,
    appointments.space,
    appointments.person,
    appointments.sex,
    appointments.age_band,
    appointments.residence,
    appointments.paying_council,
    appointments.held_on,
    CASE appointments.appointment_status
        WHEN 'seen' THEN 'HONORE'
        WHEN 'noshow' THEN 'ABSENCE'
        WHEN 'excused' THEN 'EXCUSE'
        WHEN 'revoked' THEN 'ANNULE_SERVICE'
    END AS appointment_status
FROM appointments
CROSS JOIN period
WHERE appointments.recency = 1
