-- Contracted and realised posts of the annexes in force in the month.
-- One row per annex. The realised posts are those of its employees in the month; a contracted post is never summed on
-- person rows. An annex without any statement has realised nothing that is known, and says so.
-- grain: space, annex
WITH realised AS (
    SELECT
        space, annex,
        sum(etp) AS etp_realised,
        count(DISTINCT CASE WHEN is_worker THEN person END) AS n_workers
    FROM siae_work_months
    WHERE source = 'fluxiae'
    GROUP BY space, annex
),
stated AS (  -- the last month entered, of all that are known
    SELECT space, annex, max(work_month) AS last_month
    FROM siae_hours
    WHERE source = 'fluxiae'
    GROUP BY space, annex
),
memberships AS (  -- a structure may belong to several networks and programmes: they never add up
    SELECT
        code AS siret,
        list_sort(list(DISTINCT network) FILTER (WHERE network <> '')) AS networks,
        list_sort(list(DISTINCT programme) FILTER (WHERE programme <> '')) AS programmes
    FROM siae_networks
    GROUP BY code
)
SELECT
    period.month,
    annex.space,
    CAST(annex.annex_id AS VARCHAR) AS annex,
    annex.structure,
    annex.structure_territory,
    annex.measure,
    annex.kind,
    annex.etp_contracted,
    CAST(coalesce(realised.etp_realised, 0) AS DECIMAL(18, 6)) AS etp_realised,
    CAST(least(coalesce(realised.etp_realised, 0), annex.etp_contracted) AS DECIMAL(18, 6)) AS etp_realised_capped,
    CAST(greatest(annex.etp_contracted - coalesce(realised.etp_realised, 0), 0) AS DECIMAL(18, 6)) AS etp_unused,
    coalesce(realised.n_workers, 0) AS n_workers,
    realised.annex IS NOT NULL AS has_statement,
    -- late: neither this month nor the two before; whoever just began has had nothing to enter before
    coalesce(stated.last_month, strftime(annex.begins_on - INTERVAL 1 MONTH, '%Y-%m'))
        < strftime(period.first_day - INTERVAL 2 MONTH, '%Y-%m') AS is_entered_late,
    annex.aid_of_month,
    CAST(annex.aid_of_month * annex.council_share AS DECIMAL(18, 6)) AS aid_of_council,
    CAST(annex.aid_of_month * (1 - annex.council_share) AS DECIMAL(18, 6)) AS aid_of_state,
    CASE WHEN array_length(memberships.networks) > 0 THEN memberships.networks ELSE ['AUCUN'] END AS networks,
    CASE WHEN array_length(memberships.programmes) > 0 THEN memberships.programmes ELSE ['AUCUN'] END AS programmes
FROM siae_annexes AS annex
CROSS JOIN period
LEFT JOIN realised ON realised.space = annex.space AND realised.annex = CAST(annex.annex_id AS VARCHAR)
LEFT JOIN stated ON stated.space = annex.space AND stated.annex = CAST(annex.annex_id AS VARCHAR)
LEFT JOIN memberships ON memberships.siret = annex.structure
WHERE annex.begins_on <= period.last_day AND annex.ends_on >= period.first_day
