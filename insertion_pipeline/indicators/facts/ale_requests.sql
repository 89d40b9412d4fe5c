-- Hours that users asked of local employment agencies in the month, and hours served.
-- One row per agency, kind of user and activity as declared. No person stands in it.
-- grain: space, agency, user_type, activity
SELECT
    period.month,
    demandes._space AS space,
    demandes._partner AS agency,
    max(units.territory_code) AS deposit_territory,
    demandes.type_utilisateur AS user_type,
    demandes.activite AS activity,
    sum(CAST(coalesce(demandes.heures_demandees, 0) AS DECIMAL(18, 6))) AS hours_asked,
    sum(CAST(coalesce(demandes.heures_prestees, 0) AS DECIMAL(18, 6))) AS hours_served
FROM ale_activity__demandes AS demandes
CROSS JOIN period
LEFT JOIN reporting_units AS units ON units.unit = demandes._partner
WHERE demandes._month = period.month
GROUP BY ALL
