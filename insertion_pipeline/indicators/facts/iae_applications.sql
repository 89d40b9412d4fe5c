-- Applications to insertion structures over the twelve months that end with the month, from les emplois de l'inclusion.
-- One row per application. Those made when the stock of 2021 was taken over are left out, and kinds of structures that
-- are not insertion structures. An automatic refusal is a refusal of nobody: it is told apart.
-- « entry_delay_days »: from the first application of the person to the hire, as the public target of thirty days.
-- The state is that of the end of the month: an answer of a later day is not known yet.
-- grain: space, application
WITH newest AS (
    SELECT
        candidatures.*,
        coalesce(candidatures.date_reponse > period.last_day, FALSE) AS is_answered_later,
        row_number() OVER (
            PARTITION BY candidatures._space, candidatures.candidature_id
            ORDER BY candidatures.date_reponse DESC NULLS LAST, candidatures.etat, candidatures._delivery DESC
        ) AS recency,
        -- the first application of the person, not of each day that she applied
        min(candidatures.date_candidature) FILTER (WHERE NOT coalesce(candidatures.envoyee_par_employeur, FALSE))
            OVER (PARTITION BY candidatures._space, coalesce(candidatures.person, candidatures.candidature_id))
            AS first_applied_on,
        max(coalesce(candidatures.date_reponse, candidatures.date_embauche, candidatures.date_candidature))
            FILTER (WHERE candidatures.etat = 'accepted' AND coalesce(candidatures.date_reponse <= period.last_day, TRUE))
            OVER (PARTITION BY candidatures._space, coalesce(candidatures.person, candidatures.candidature_id))
            AS last_accepted_on
    FROM emplois_applications__candidatures AS candidatures
    CROSS JOIN period
    WHERE candidatures._month = period.month
        AND candidatures.date_candidature <= period.last_day
        AND NOT coalesce(candidatures.reprise_ai, FALSE)
        AND candidatures.type_structure IN ('ACI', 'AI', 'EI', 'ETTI', 'EITI')
)
SELECT
    period.month,
    newest._space AS space,
    newest.candidature_id AS application,
    newest.person,
    newest.sex,
    newest.age_band,
    newest.person_residence AS residence,
    newest.siret_structure AS structure,
    'FR-COM-' || newest.code_commune_structure AS structure_territory,
    newest.type_structure AS kind,
    newest.date_candidature AS applied_on,
    date_diff('month', newest.date_candidature, period.last_day) AS application_lag,
    newest.origine AS origin,
    newest.type_prescripteur AS prescriber,
    coalesce(newest.envoyee_par_employeur, FALSE) AS is_sent_by_employer,
    CASE
        WHEN NOT newest.is_answered_later THEN newest.etat
        WHEN newest.date_prise_en_compte <= period.last_day THEN 'processing'
        ELSE 'new'
    END AS state,
    newest.etat = 'refused' AND NOT newest.is_answered_later
        AND NOT coalesce(newest.refus_automatique, newest.motif_refus = 'auto', FALSE) AS is_refused,
    newest.etat = 'refused' AND NOT newest.is_answered_later
        AND coalesce(newest.refus_automatique, newest.motif_refus = 'auto', FALSE) AS is_refused_automatically,
    CASE WHEN newest.date_reponse BETWEEN newest.date_candidature AND period.last_day
        THEN date_diff('day', newest.date_candidature, newest.date_reponse) END AS answer_delay_days,
    newest.etat = 'accepted' AND newest.date_embauche BETWEEN period.first_day AND period.last_day AS is_hired_in_month,
    CASE WHEN newest.etat = 'accepted' AND newest.date_embauche >= newest.first_applied_on
        THEN date_diff('day', newest.first_applied_on, newest.date_embauche) END AS entry_delay_days,
    newest.etat = 'accepted' AND newest.siret_auteur_diagnostic = newest.siret_structure AS is_self_prescribed,
    -- still waiting for an answer, and nobody has accepted her since
    CASE
        WHEN (newest.is_answered_later OR newest.etat IN ('new', 'processing', 'postponed', 'prior_to_hire', 'pool'))
            AND coalesce(newest.last_accepted_on < newest.date_candidature, TRUE)
        THEN date_diff('day', newest.date_candidature, period.last_day)
    END AS waiting_days
FROM newest
CROSS JOIN period
WHERE newest.recency = 1
    AND (newest.date_candidature >= period.rolling_year_start
        OR newest.date_embauche BETWEEN period.first_day AND period.last_day)
