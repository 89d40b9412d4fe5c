-- Exits from insertion structures over the twelve months that end with the month.
-- One row per person, structure and annex: the last exit, whatever the number of contracts and missions.
-- The monthly statement's reason comes first, the contract's is the fallback; reasons are joined on their id.
-- « is_counted »: enough time or hours (ACI, EI: hours and more than the minimum stay; AI, ETTI: 150 hours per person,
-- annex and calendar year; EITI: one hour), and not withdrawn from observation (retrait).
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
    FROM fluxiae__etat_mensuel_indiv
),
contracts AS (
    SELECT
        contrat_mission.*,
        row_number() OVER (
            PARTITION BY _space, contrat_id_ctr
            ORDER BY contrat_date_sortie_definitive DESC NULLS LAST, contrat_motif_sortie_id, _delivery DESC
        ) AS recency
    FROM fluxiae__contrat_mission AS contrat_mission
    CROSS JOIN period
    WHERE contrat_mission._month = period.month
),
chains AS (  -- recruitment is the first contract of the person in the structure and measure
    SELECT
        _space AS space, person, contrat_id_structure AS structure_id, contrat_mesure_disp_code AS measure,
        min(contrat_date_embauche) AS recruited_on,
        max(contrat_date_embauche) AS last_hired_on
    FROM contracts
    WHERE recency = 1
    GROUP BY _space, person, contrat_id_structure, contrat_mesure_disp_code
),
from_fluxiae AS (
    SELECT
        contracts._space AS space,
        contracts.person,
        annex.structure,
        annex.structure_territory,
        CAST(annex.annex_id AS VARCHAR) AS annex,
        annex.measure,
        annex.kind,
        contracts.sex,
        contracts.age_band,
        contracts.person_residence AS residence,
        coalesce(contracts.contrat_date_sortie_definitive, statement.ended_on) AS exited_on,
        chains.recruited_on,
        coalesce(stated.exit_class, contracted.exit_class) AS exit_class,
        coalesce(stated.exit_class <> contracted.exit_class, FALSE) AS has_conflicting_reasons,
        contracts.contrat_salarie_rsa AS rsa,
        annex.objective_dynamic_exits,
        'fluxiae' AS source
    FROM contracts
    JOIN contract_statements AS statement
        ON statement.space = contracts._space AND statement.contract_id = contracts.contrat_id_ctr
        AND statement.recency = 1
    JOIN siae_annexes AS annex ON annex.space = statement.space AND annex.annex_id = statement.annex_id
    JOIN chains
        ON chains.space = contracts._space AND chains.person = contracts.person
        AND chains.structure_id = contracts.contrat_id_structure
        AND chains.measure = contracts.contrat_mesure_disp_code
    LEFT JOIN reasons AS stated
        ON stated.space = statement.space AND stated.reason_id = statement.reason_id AND stated.rank = 1
    LEFT JOIN reasons AS contracted
        ON contracted.space = contracts._space AND contracted.reason_id = contracts.contrat_motif_sortie_id
        AND contracted.rank = 1
    WHERE contracts.recency = 1
        AND coalesce(stated.exit_class, contracted.exit_class) IS NOT NULL
        -- hired again afterwards by the same structure: not an exit
        AND coalesce(contracts.contrat_date_sortie_definitive, statement.ended_on) >= chains.last_hired_on
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
    LEFT JOIN units ON units.siret = salaries.siret
    WHERE stated.structure IS NULL AND salaries.motif_sortie_categorie IS NOT NULL
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
measured AS (
    SELECT
        last_exits.*,
        coalesce(sum(worked.hours), 0) AS hours_in_annex,
        coalesce(sum(CASE WHEN worked.year = year(last_exits.exited_on) THEN worked.hours END), 0) AS hours_in_year,
        date_diff('day', last_exits.recruited_on, last_exits.exited_on) AS stay_days
    FROM last_exits
    LEFT JOIN worked
        ON worked.space = last_exits.space AND worked.person = last_exits.person
        AND worked.structure = last_exits.structure AND worked.annex = last_exits.annex
    WHERE last_exits.recency = 1
    GROUP BY ALL
)
SELECT
    period.month,
    measured.space,
    measured.person,
    measured.sex,
    measured.age_band,
    measured.residence,
    measured.structure,
    measured.structure_territory,
    measured.annex,
    measured.measure,
    measured.kind,
    measured.exited_on,
    measured.exit_class,
    measured.has_conflicting_reasons,
    CASE measured.rsa WHEN 'OUI-M' THEN 'RSA' WHEN 'OUI-NM' THEN 'RSA' WHEN 'NON' THEN 'SANS_RSA' END AS rsa_status,
    measured.objective_dynamic_exits,
    measured.stay_days,
    measured.exit_class <> 'RETRAIT' AND CASE
        WHEN measured.kind IN ('ACI', 'EI')
            THEN measured.hours_in_annex >= parameters.minimum_hours_worked
                AND measured.stay_days * 0.0328767 > parameters.minimum_stay_months
        WHEN measured.kind IN ('AI', 'ETTI') THEN measured.hours_in_year >= parameters.minimum_hours_ai_etti
        ELSE measured.hours_in_annex >= parameters.minimum_hours_worked
    END AS is_counted,
    measured.exit_class IN ('EMPLOI_DURABLE', 'EMPLOI_TRANSITION', 'SORTIE_POSITIVE') AS is_dynamic,
    measured.source
FROM measured
CROSS JOIN period
CROSS JOIN parameters
ORDER BY measured.space, measured.structure, measured.annex, measured.person
