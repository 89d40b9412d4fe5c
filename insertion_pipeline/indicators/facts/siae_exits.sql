-- Exits from insertion structures over the twelve months that end with the month.
-- One row per person, structure and annex: the last exit, whatever the number of contracts and missions.
-- The monthly statement's reason comes first, the contract's is the fallback; reasons are joined on their id.
-- « is_counted »: enough time or hours (ACI, EI: hours and more than the minimum stay; AI, ETTI: 150 hours per person,
-- annex and calendar year; EITI: one hour), and not withdrawn from observation (retrait).
-- over months: fluxiae__etat_mensuel_indiv, siae_monthly__salaries
-- grain: space, person, structure, annex
WITH reasons AS (
    SELECT
        motive._space AS space,
        motive.rms_id AS reason_id,
        CASE
            WHEN category.rcs_code = '5' OR lower(strip_accents(category.rcs_libelle)) LIKE '%retrait%' THEN 'RETRAIT'
            WHEN lower(strip_accents(category.rcs_libelle)) LIKE '%durable%' THEN 'EMPLOI_DURABLE'
            WHEN lower(strip_accents(category.rcs_libelle)) LIKE '%transition%' THEN 'EMPLOI_TRANSITION'
            WHEN lower(strip_accents(category.rcs_libelle)) LIKE '%positive%' THEN 'SORTIE_POSITIVE'
            ELSE 'AUTRE'
        END AS exit_class,
        row_number() OVER (
            PARTITION BY motive._space, motive.rms_id ORDER BY category.rcs_code, motive.rms_code
        ) AS rank
    FROM fluxiae__ref_motif_sort AS motive
    CROSS JOIN period
    JOIN fluxiae__ref_categorie_sort AS category
        ON category._space = motive._space AND category.rcs_id = motive.rcs_id AND category._month = motive._month
    WHERE motive._month = period.month
),
concerned AS (  -- contracts that may have ended in the twelve months, for a reason that somebody tells: few of all
    SELECT contracts.space, contracts.contract_id
    FROM siae_contracts AS contracts
    CROSS JOIN period
    LEFT JOIN (
        SELECT DISTINCT _space, emi_ctr_id FROM fluxiae__etat_mensuel_indiv WHERE emi_motif_sortie_id IS NOT NULL
    ) AS told ON told._space = contracts.space AND told.emi_ctr_id = contracts.contract_id
    WHERE (contracts.exit_reason_id IS NOT NULL OR told.emi_ctr_id IS NOT NULL)
        AND coalesce(contracts.left_on BETWEEN period.rolling_year_start AND period.last_day, TRUE)
),
contract_statements AS (  -- the annex of a contract, and the reason that the structure states month by month
    SELECT
        _space AS space,
        emi_ctr_id AS contract_id,
        emi_afi_id AS annex_id,
        emi_motif_sortie_id AS reason_id,
        emi_date_fin_reelle AS ended_on,
        row_number() OVER (
            PARTITION BY _space, emi_ctr_id
            ORDER BY
                emi_motif_sortie_id IS NULL, _month DESC, emi_sme_version DESC NULLS LAST, emi_afi_id DESC,
                emi_motif_sortie_id, _delivery DESC
        ) AS recency
    FROM fluxiae__etat_mensuel_indiv AS statement
    SEMI JOIN concerned ON concerned.space = statement._space AND concerned.contract_id = statement.emi_ctr_id
),
last_contracts AS (
    SELECT space, person, structure_id, measure, max(last_hired_on) AS hired_on
    FROM siae_chains
    GROUP BY space, person, structure_id, measure
),
from_fluxiae AS (
    SELECT
        contracts.space,
        contracts.person,
        annex.structure,
        annex.structure_territory,
        CAST(annex.annex_id AS VARCHAR) AS annex,
        annex.measure,
        annex.kind,
        contracts.sex,
        contracts.age_band,
        contracts.residence,
        coalesce(contracts.left_on, statement.ended_on) AS exited_on,
        chains.recruited_on,
        coalesce(stated.exit_class, contracted.exit_class) AS exit_class,
        coalesce(stated.exit_class <> contracted.exit_class, FALSE) AS has_conflicting_reasons,
        contracts.rsa,
        annex.objective_dynamic_exits,
        'fluxiae' AS source
    FROM siae_contracts AS contracts
    JOIN contract_statements AS statement
        ON statement.space = contracts.space AND statement.contract_id = contracts.contract_id
        AND statement.recency = 1
    JOIN siae_annexes AS annex ON annex.space = statement.space AND annex.annex_id = statement.annex_id
    JOIN siae_chains AS chains
        ON chains.space = contracts.space AND chains.person = contracts.person
        AND chains.structure_id = contracts.structure_id AND chains.measure = contracts.measure
        AND chains.chain = contracts.chain
    JOIN last_contracts
        ON last_contracts.space = contracts.space AND last_contracts.person = contracts.person
        AND last_contracts.structure_id = contracts.structure_id AND last_contracts.measure = contracts.measure
    LEFT JOIN reasons AS stated
        ON stated.space = statement.space AND stated.reason_id = statement.reason_id AND stated.rank = 1
    LEFT JOIN reasons AS contracted
        ON contracted.space = contracts.space AND contracted.reason_id = contracts.exit_reason_id
        AND contracted.rank = 1
    WHERE coalesce(stated.exit_class, contracted.exit_class) IS NOT NULL
        -- hired again afterwards by the same structure: not an exit
        AND coalesce(contracts.left_on, statement.ended_on) >= last_contracts.hired_on
),
stated_by_fluxiae AS (
    SELECT DISTINCT structure, work_month FROM siae_hours WHERE source = 'fluxiae'
),
units AS (
    SELECT siret, min(territory_code) AS territory_code
    FROM reporting_units
    WHERE siret IS NOT NULL
    GROUP BY siret
),
from_structures AS (
    SELECT
        salaries._space AS space,
        salaries.person,
        salaries.siret AS structure,
        units.territory_code AS structure_territory,
        regexp_replace(salaries.annexe_numero, 'A[0-9](M[0-9])?$', '') AS annex,
        regexp_extract(salaries.annexe_numero, '^(ACIPA|ACI|AI|EIPA|EITI|EI|ETTI|FDI)', 1) || '_DC' AS measure,
        regexp_extract(salaries.annexe_numero, '^(ACIPA|ACI|AI|EIPA|EITI|EI|ETTI|FDI)', 1) AS kind,
        salaries.sex,
        salaries.age_band,
        salaries.person_residence AS residence,
        salaries.date_sortie AS exited_on,
        salaries.date_debut_contrat AS recruited_on,
        salaries.motif_sortie_categorie AS exit_class,
        FALSE AS has_conflicting_reasons,
        salaries.rsa,
        CAST(NULL AS DECIMAL(18, 6)) AS objective_dynamic_exits,
        'siae_monthly' AS source
    FROM siae_monthly__salaries AS salaries
    LEFT JOIN stated_by_fluxiae AS stated
        ON stated.structure = salaries.siret AND stated.work_month = salaries._month
    -- a later file may repeat an exit of a month that the flow of the ASP states: the flow has told it
    LEFT JOIN stated_by_fluxiae AS told
        ON told.structure = salaries.siret AND told.work_month = strftime(salaries.date_sortie, '%Y-%m')
    LEFT JOIN units ON units.siret = salaries.siret
    WHERE stated.structure IS NULL AND told.structure IS NULL AND salaries.motif_sortie_categorie IS NOT NULL
),
every AS (
    SELECT * FROM from_fluxiae
    UNION ALL
    SELECT * FROM from_structures
),
last_exits AS (
    SELECT
        every.*,
        row_number() OVER (
            PARTITION BY every.space, every.person, every.structure, every.annex
            ORDER BY every.exited_on DESC, every.recruited_on, every.exit_class, every.residence
        ) AS recency
    FROM every
    CROSS JOIN period
    WHERE every.exited_on BETWEEN period.rolling_year_start AND period.last_day
        AND every.person IS NOT NULL
        AND every.kind NOT IN ('ACIPA', 'EIPA', 'FDI')
),
worked AS (
    SELECT
        space, person, structure, annex,
        CAST(substr(work_month, 1, 4) AS INTEGER) AS year,
        sum(hours_worked) AS hours
    FROM siae_hours
    GROUP BY space, person, structure, annex, CAST(substr(work_month, 1, 4) AS INTEGER)
),
later_work AS (  -- a passage from one structure to another: hours elsewhere in the month of the exit or after
    SELECT DISTINCT last_exits.space, last_exits.person, last_exits.structure, last_exits.annex
    FROM last_exits
    JOIN siae_hours AS hours
        ON hours.space = last_exits.space AND hours.person = last_exits.person
        AND hours.structure <> last_exits.structure
        AND hours.work_month >= strftime(last_exits.exited_on, '%Y-%m')
    WHERE last_exits.recency = 1 AND hours.hours_worked > 0
),
measured AS (
    SELECT
        last_exits.*,
        coalesce(sum(worked.hours), 0) AS hours_in_annex,
        -- an exit in January is judged by the year worked before it
        coalesce(max(worked.hours), 0) AS most_hours_in_a_year,
        date_diff('day', last_exits.recruited_on, last_exits.exited_on) AS stay_days
    FROM last_exits
    LEFT JOIN worked
        ON worked.space = last_exits.space AND worked.person = last_exits.person
        AND worked.structure = last_exits.structure AND worked.annex = last_exits.annex
    WHERE last_exits.recency = 1
    GROUP BY ALL
),
judged AS (
    SELECT
        measured.*,
        measured.exit_class <> 'RETRAIT' AND CASE
            WHEN measured.kind IN ('ACI', 'EI')
                THEN measured.hours_in_annex >= parameters.minimum_hours_worked
                    AND measured.stay_days * 0.0328767 > parameters.minimum_stay_months
            WHEN measured.kind IN ('AI', 'ETTI') THEN measured.most_hours_in_a_year >= parameters.minimum_hours_ai_etti
            ELSE measured.hours_in_annex >= parameters.minimum_hours_worked
        END AS is_counted
    FROM measured
    CROSS JOIN parameters
)
SELECT
    period.month,
    judged.space,
    judged.person,
    judged.sex,
    judged.age_band,
    judged.residence,
    judged.structure,
    judged.structure_territory,
    judged.annex,
    judged.measure,
    judged.kind,
    judged.exited_on,
    judged.exit_class,
    judged.has_conflicting_reasons,
    CASE judged.rsa WHEN 'OUI-M' THEN 'RSA' WHEN 'OUI-NM' THEN 'RSA' WHEN 'NON' THEN 'SANS_RSA' END AS rsa_status,
    judged.objective_dynamic_exits,
    judged.stay_days,
    judged.is_counted,
    judged.exit_class IN ('EMPLOI_DURABLE', 'EMPLOI_TRANSITION', 'SORTIE_POSITIVE') AS is_dynamic,
    row_number() OVER (
        PARTITION BY judged.space, judged.person, coalesce(judged.is_counted, FALSE)  -- the last that counts
        ORDER BY judged.exited_on DESC, judged.structure, judged.annex
    ) = 1 AS is_last_of_person,
    elsewhere.person IS NOT NULL AS works_in_another_structure,
    judged.source
FROM judged
CROSS JOIN period
LEFT JOIN later_work AS elsewhere
    ON elsewhere.space = judged.space AND elsewhere.person = judged.person
    AND elsewhere.structure = judged.structure AND elsewhere.annex = judged.annex
