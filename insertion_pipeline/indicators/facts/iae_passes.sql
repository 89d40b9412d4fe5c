-- PASS IAE in force at the end of the month: the right of a person to work in insertion structures.
-- One row per person and first day of the PASS. The agreements of the former employment service are left out.
-- grain: space, person, begins_on
WITH ranked AS (
    SELECT
        pass_iae.*,
        row_number() OVER (
            PARTITION BY pass_iae._space, pass_iae.person, pass_iae.date_debut
            ORDER BY pass_iae.date_fin DESC NULLS LAST, pass_iae.suspendu, pass_iae.siret_structure,
                pass_iae._delivery DESC
        ) AS recency
    FROM emplois_applications__pass_iae AS pass_iae
    CROSS JOIN period
    WHERE pass_iae._month = period.month AND pass_iae.person IS NOT NULL AND pass_iae.nature = 'PASS'
)
SELECT
    period.month,
    ranked._space AS space,
    ranked.person,
    ranked.sex,
    ranked.age_band,
    ranked.person_residence AS residence,
    'FR-COM-' || ranked.code_commune_structure AS structure_territory,
    ranked.date_debut AS begins_on,
    ranked.date_fin AS ends_on,
    coalesce(ranked.suspendu, FALSE) AS is_suspended
FROM ranked
CROSS JOIN period
WHERE ranked.recency = 1
    AND ranked.date_debut <= period.last_day
    AND coalesce(ranked.date_fin >= period.last_day, TRUE)
