-- Posts that insertion structures offer on les emplois de l'inclusion at the end of the month.
-- One row per post. « Open for long »: open to recruitment for more than thirty days, without a hire in the last thirty.
-- grain: space, post
WITH ranked AS (
    SELECT
        postes.*,
        row_number() OVER (
            PARTITION BY postes._space, postes.poste_id ORDER BY postes.ouvert_depuis DESC NULLS LAST, postes._delivery DESC
        ) AS recency
    FROM emplois_applications__postes AS postes
    CROSS JOIN period
    WHERE postes._month = period.month AND postes.type_structure IN ('ACI', 'AI', 'EI', 'ETTI', 'EITI')
)
SELECT
    period.month,
    ranked._space AS space,
    ranked.poste_id AS post,
    ranked.siret_structure AS structure,
    'FR-COM-' || ranked.code_commune_structure AS structure_territory,
    ranked.type_structure AS kind,
    coalesce(ranked.postes_ouverts, 1) AS n_posts,
    date_diff('day', ranked.ouvert_depuis, period.last_day) AS open_days,
    date_diff('day', ranked.ouvert_depuis, period.last_day) > 30 AND coalesce(ranked.recrutements, 0) = 0
        AS is_open_for_long,
    coalesce(ranked.candidatures, 0) > 0 AS has_applications
FROM ranked
CROSS JOIN period
WHERE ranked.recency = 1
    AND coalesce(ranked.recrutement_ouvert, FALSE)
    AND coalesce(ranked.ferme_le > period.last_day, TRUE)
