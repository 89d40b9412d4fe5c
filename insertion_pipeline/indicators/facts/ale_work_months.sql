-- Hours worked through local employment agencies in the month, as their forms ALE 4 state them.
-- One row per person, agency, kind of user and group of activities.
-- grain: space, person, agency, user_type, activity_group
SELECT
    period.month,
    prestations._space AS space,
    prestations.person,
    max(prestations.sex) AS sex,
    max(prestations.age_band) AS age_band,
    max(prestations.person_residence) AS residence,
    prestations._partner AS agency,
    max(units.territory_code) AS deposit_territory,
    prestations.type_utilisateur AS user_type,
    CASE
        WHEN prestations.type_utilisateur = 'agriculture' THEN 'AGRICOLE'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%agric%' THEN 'AGRICOLE'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%hortic%' THEN 'AGRICOLE'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%jardin%' THEN 'JARDINAGE'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%surveil%' THEN 'SURVEILLANCE'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%gard%' THEN 'SURVEILLANCE'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%accompagn%' THEN 'AIDE_PERSONNES'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%soin%' THEN 'AIDE_PERSONNES'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%aide%' THEN 'AIDE_PERSONNES'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%menag%' THEN 'ENTRETIEN'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%nettoy%' THEN 'ENTRETIEN'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%entretien%' THEN 'ENTRETIEN'
        WHEN lower(strip_accents(prestations.activite)) LIKE '%bricol%' THEN 'BRICOLAGE'
        WHEN prestations.activite IS NOT NULL THEN 'AUTRE'
    END AS activity_group,
    sum(CAST(coalesce(prestations.heures, 0) AS DECIMAL(18, 6))) AS hours_worked
FROM ale_activity__prestations AS prestations
CROSS JOIN period
LEFT JOIN reporting_units AS units ON units.unit = prestations._partner
WHERE prestations._month = period.month AND prestations.person IS NOT NULL
GROUP BY ALL
