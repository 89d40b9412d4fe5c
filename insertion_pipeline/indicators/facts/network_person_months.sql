-- Persons of the network in the month: who knows them, who follows them.
-- One row per person and country. « Known »: stands in a file of the family. « Followed »: an open referent decision
-- with a contact under three months old; one hour in the month, or « toujours accompagné », in a structure; one hour
-- in an agency. Combinations of families are disjoint: they add up.
-- grain: space, person
WITH listed AS (
    SELECT
        list._space AS space,
        list.person,
        max(list.sex) AS sex,
        max(list.age_band) AS age_band,
        max(list.person_residence) AS residence,
        bool_or(
            coalesce(list.orientation_type, list.orientation_structure, list.structure) IS NOT NULL
            AND coalesce(list.support_start_date <= period.last_day, TRUE)
            AND coalesce(list.support_end_date > period.last_day, TRUE)
            AND coalesce(
                (list.last_appointment_status = 'seen' AND list.last_appointment_date <= period.last_day
                    AND list.last_appointment_date >= period.first_day - INTERVAL 2 MONTH)
                OR (list.cer_signed_on <= period.last_day
                    AND list.cer_signed_on >= period.first_day - INTERVAL 2 MONTH),
                FALSE
            )
        ) AS is_accompanied
    FROM department_list__beneficiaires AS list
    CROSS JOIN period
    WHERE list._month = period.month AND list.person IS NOT NULL
    GROUP BY list._space, list.person
),
sightings AS (  -- by other families than the employment service; priority: whose address counts when they disagree
    SELECT
        flow._space AS space, flow.person, '1' AS priority, 'department' AS family, flow.sex, flow.age_band,
        flow.person_residence AS residence, FALSE AS is_accompanied
    FROM cnaf_vrsb0801__personnes AS flow
    CROSS JOIN period
    WHERE flow._month = period.month AND flow.rolepers IN ('DEM', 'CJT') AND flow.person IS NOT NULL
    UNION ALL
    SELECT space, person, '2', 'department', sex, age_band, residence, is_accompanied FROM listed
    UNION ALL
    SELECT space, person, '4', 'siae', sex, age_band, residence, is_worker OR is_still_accompanied
    FROM siae_work_months
    WHERE person IS NOT NULL
    UNION ALL
    SELECT space, person, '5', 'ale', sex, age_band, residence, is_worker FROM ale_person_months
),
known AS (
    SELECT
        space,
        person,
        min(priority || sex) AS sex,
        min(priority || age_band) AS age_band,
        min(priority || residence) AS residence,
        bool_or(family = 'ale') AS is_known_ale,
        bool_or(family = 'siae') AS is_known_siae,
        bool_or(family = 'department') AS is_known_department,
        bool_or(family = 'ale' AND is_accompanied) AS is_accompanied_ale,
        bool_or(family = 'siae' AND is_accompanied) AS is_accompanied_siae,
        bool_or(family = 'department' AND is_accompanied) AS is_accompanied_department
    FROM sightings
    GROUP BY space, person
),
persons AS (  -- what the department says comes before the employment service, which comes before the others
    SELECT
        space,
        person,
        CASE WHEN known.sex < '3' THEN substr(known.sex, 2)
            ELSE coalesce(jobseekers.sex, substr(known.sex, 2)) END AS sex,
        CASE WHEN known.age_band < '3' THEN substr(known.age_band, 2)
            ELSE coalesce(jobseekers.age_band, substr(known.age_band, 2)) END AS age_band,
        CASE WHEN known.residence < '3' THEN substr(known.residence, 2)
            ELSE coalesce(jobseekers.residence, substr(known.residence, 2)) END AS residence,
        coalesce(known.is_known_ale, FALSE) AS is_known_ale,
        coalesce(known.is_known_siae, FALSE) AS is_known_siae,
        coalesce(known.is_known_department, FALSE) AS is_known_department,
        jobseekers.month IS NOT NULL AS is_known_employment_service,
        coalesce(known.is_accompanied_ale, FALSE) AS is_accompanied_ale,
        coalesce(known.is_accompanied_siae, FALSE) AS is_accompanied_siae,
        coalesce(known.is_accompanied_department, FALSE) AS is_accompanied_department,
        coalesce(jobseekers.is_accompanied, FALSE) AS is_accompanied_employment_service
    FROM known
    FULL JOIN jobseeker_months AS jobseekers USING (space, person)
)
SELECT
    period.month,
    persons.space,
    persons.person,
    persons.sex,
    persons.age_band,
    persons.residence,
    CAST(is_known_ale AS INTEGER) + CAST(is_known_siae AS INTEGER) + CAST(is_known_department AS INTEGER)
        + CAST(is_known_employment_service AS INTEGER) AS n_families_knowing,
    CAST(is_accompanied_ale AS INTEGER) + CAST(is_accompanied_siae AS INTEGER)
        + CAST(is_accompanied_department AS INTEGER) + CAST(is_accompanied_employment_service AS INTEGER)
        AS n_families_accompanying,
    concat_ws(
        '+',
        CASE WHEN is_known_ale THEN 'ale' END,
        CASE WHEN is_known_siae THEN 'siae' END,
        CASE WHEN is_known_department THEN 'department' END,
        CASE WHEN is_known_employment_service THEN 'employment_service' END
    ) AS families_knowing,
    coalesce(nullif(concat_ws(
        '+',
        CASE WHEN is_accompanied_ale THEN 'ale' END,
        CASE WHEN is_accompanied_siae THEN 'siae' END,
        CASE WHEN is_accompanied_department THEN 'department' END,
        CASE WHEN is_accompanied_employment_service THEN 'employment_service' END
    ), ''), 'aucune') AS families_accompanying,
    persons.is_known_siae,
    persons.is_known_department,
    persons.is_known_employment_service,
    persons.is_known_ale
FROM persons
CROSS JOIN period
