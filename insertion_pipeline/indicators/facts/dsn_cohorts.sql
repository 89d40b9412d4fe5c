-- Persons who left insertion structures, and those whom the employers' declarations (DSN) find in employment later.
-- One row per cell of the exchange, of the newest quarter that it tells of for each number of months after the exit.
-- Whoever is not found is without employment there, or employed where the declarations do not look: they are told so.
-- grain: space, months_after, quarter, kind, zone, sex, contract, sector
WITH told AS (
    SELECT
        sorties._space AS space,
        sorties.mois_apres_sortie AS months_after,
        sorties.trimestre_sortie AS quarter,
        sorties.type_siae AS kind,
        sorties.zone_emploi AS zone,
        CASE sorties.sexe WHEN '1' THEN 'M' WHEN '2' THEN 'F' END AS sex,
        sorties.nature_contrat AS contract,
        sorties.secteur_activite AS sector,
        CAST(sum(coalesce(sorties.personnes_en_emploi, 0)) AS BIGINT) AS employed,
        CAST(sum(coalesce(sorties.personnes_sans_emploi, 0)) AS BIGINT) AS not_found,
        -- the quarter's last day, and the months that must have passed since
        last_day(CAST(substr(sorties.trimestre_sortie, 1, 4) || '-' ||
            lpad(CAST(3 * CAST(right(sorties.trimestre_sortie, 1) AS INTEGER) AS VARCHAR), 2, '0') || '-01' AS DATE))
            AS quarter_end
    FROM dsn_outcomes__sorties AS sorties
    CROSS JOIN period
    WHERE sorties._month = period.month AND regexp_full_match(sorties.trimestre_sortie, '[0-9]{4}-T[1-4]')
    GROUP BY ALL
),
mature AS (
    SELECT
        told.*,
        max(told.quarter) OVER (PARTITION BY told.space, told.months_after) AS newest_quarter
    FROM told
    CROSS JOIN period
    WHERE told.quarter_end + to_months(CAST(told.months_after AS INTEGER)) <= period.last_day
)
SELECT
    period.month,
    mature.space,
    mature.months_after,
    mature.quarter,
    mature.kind,
    mature.zone,
    mature.sex,
    mature.contract,
    mature.sector,
    'FR-ZE-' || CASE WHEN mature.zone <> 'ZE_NEUTRE' THEN mature.zone END AS structure_territory,
    mature.employed,
    mature.not_found
FROM mature
CROSS JOIN period
WHERE mature.quarter = mature.newest_quarter
