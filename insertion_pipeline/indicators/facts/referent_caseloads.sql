-- How many persons each referent follows at the end of the month. A referent is a pseudonym under a key of its own, of
-- the name as one partner writes it: who serves two partners is two referents.
-- One row per referent and paying council. In a department the pathways say who follows, and the list where they do not;
-- of a person with several referents, the latest one counts.
-- grain: space, caseload_kind, paying_council, referent
WITH listed AS (
    SELECT
        list._space AS space,
        list.person,
        units.territory_code AS paying_council,
        list.referent_pseudonym AS referent,
        coalesce(list.support_end_date > period.last_day, TRUE) AS is_open,
        row_number() OVER (
            PARTITION BY list._space, list.person, units.territory_code
            ORDER BY
                list.support_start_date DESC NULLS LAST, list.orientation_date DESC NULLS LAST, list._delivery DESC,
                list.referent_pseudonym
        ) AS recency
    FROM department_list__beneficiaires AS list
    CROSS JOIN period
    LEFT JOIN reporting_units AS units ON units.unit = list._partner
    WHERE list._month = period.month AND list.person IS NOT NULL AND list.referent_pseudonym IS NOT NULL
),
followed AS (
    SELECT space, person, 'DEPARTEMENT' AS caseload_kind, paying_council, referent
    FROM rsa_pathways
    WHERE is_oriented AND referent IS NOT NULL
    UNION ALL
    SELECT listed.space, listed.person, 'DEPARTEMENT' AS caseload_kind, listed.paying_council, listed.referent
    FROM listed
    LEFT JOIN rsa_pathways AS told
        ON told.space = listed.space AND told.person = listed.person AND told.paying_council = listed.paying_council
        AND told.referent IS NOT NULL
    WHERE listed.recency = 1 AND listed.is_open AND told.person IS NULL
    UNION ALL
    SELECT french._space AS space, french.person, 'SERVICE_EMPLOI' AS caseload_kind, NULL AS paying_council,
        french.referent_pseudonym AS referent
    FROM ft_spie__demandeurs AS french
    CROSS JOIN period
    WHERE french._month = period.month AND french.person IS NOT NULL AND french.referent_pseudonym IS NOT NULL
    UNION ALL
    SELECT walloon._space AS space, walloon.person, 'SERVICE_EMPLOI' AS caseload_kind, NULL AS paying_council,
        walloon.referent_pseudonym AS referent
    FROM forem_jobseekers__demandeurs AS walloon
    CROSS JOIN period
    WHERE walloon._month = period.month AND walloon.person IS NOT NULL AND walloon.referent_pseudonym IS NOT NULL
        AND coalesce(walloon.date_cessation > period.last_day, TRUE)
)
SELECT
    period.month,
    followed.space,
    followed.caseload_kind,
    followed.paying_council,
    CASE followed.space WHEN 'be' THEN 'BE' ELSE 'FR' END AS deposit_territory,
    followed.referent,
    count(DISTINCT followed.person) AS caseload
FROM followed
CROSS JOIN period
GROUP BY ALL
