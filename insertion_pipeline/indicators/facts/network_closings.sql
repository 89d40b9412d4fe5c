-- Reasons to end a follow-up that partners state: a person with one has left, nobody lost her.
-- One row per person, over the month and the three months before it.
-- over months: department_pathways__parcours, cnaf_vrsb0801__personnes, ft_registrations__cessations, forem_jobseekers__demandeurs, ale_activity__prestations, siae_monthly__salaries
-- grain: space, person
WITH closings AS (
    SELECT _space AS space, person, pathway_end_date AS closed_on, _month FROM department_pathways__parcours
    WHERE pathway_end_reason IS NOT NULL
    UNION ALL
    SELECT _space, person, coalesce(dtclorsa, dtclorsa_anterieur), _month FROM cnaf_vrsb0801__personnes
    WHERE etatdosrsa IN ('5', '6')
    UNION ALL
    SELECT _space, person, date, _month FROM ft_registrations__cessations
    UNION ALL
    SELECT _space, person, date_cessation, _month FROM forem_jobseekers__demandeurs
    UNION ALL
    SELECT _space, person, date_sortie, _month FROM ale_activity__prestations
    UNION ALL
    SELECT _space, person, date_sortie, _month FROM siae_monthly__salaries WHERE motif_sortie_categorie IS NOT NULL
    UNION ALL
    SELECT space, person, exited_on, month FROM siae_exits
    UNION ALL
    SELECT list._space, list.person, list.support_end_date, list._month FROM department_list__beneficiaires AS list
    CROSS JOIN period
    WHERE list._month = period.month
)
SELECT period.month, closings.space, closings.person, max(closings.closed_on) AS closed_on
FROM closings
CROSS JOIN period
WHERE closings.person IS NOT NULL
    AND closings.closed_on >= period.first_day - INTERVAL 3 MONTH AND closings.closed_on <= period.last_day
    AND closings._month >= strftime(period.first_day - INTERVAL 3 MONTH, '%Y-%m')
GROUP BY ALL
