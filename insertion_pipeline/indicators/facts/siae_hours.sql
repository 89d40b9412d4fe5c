-- Hours of employees of insertion structures, in every month known: what work months and exits are made of.
-- One row per person, structure, annex and month. Of a monthly statement, the last version; where fluxIAE holds a
-- statement of a structure for a month, the structure's own file (siae_monthly) of that month is left aside.
-- A statement counts whatever its state of entry (VALIDE, SAISI, DEBLOQUE, BROUILLON), as existing systems do.
-- over months: fluxiae__etat_mensuel_indiv, siae_monthly__salaries
-- grain: space, person, structure, annex, work_month
WITH several AS (  -- few employees have several statements of a month: only they are ranked
    SELECT emi_pph_id, emi_sme_annee, emi_sme_mois
    FROM fluxiae__etat_mensuel_indiv
    GROUP BY emi_pph_id, emi_sme_annee, emi_sme_mois
    HAVING count(*) > 1
),
statements AS (
    SELECT statement.*, 1 AS recency
    FROM fluxiae__etat_mensuel_indiv AS statement
    ANTI JOIN several USING (emi_pph_id, emi_sme_annee, emi_sme_mois)
    UNION ALL
    SELECT
        statement.*,
        row_number() OVER (
            PARTITION BY
                statement._space, statement.emi_pph_id, statement.emi_ctr_id, statement.emi_afi_id,
                statement.emi_sme_annee, statement.emi_sme_mois, statement.emi_dsm_id
            ORDER BY
                statement.emi_sme_version DESC NULLS LAST,
                statement.emi_date_validation DESC NULLS LAST,
                statement.emi_nb_heures_travail DESC NULLS LAST,
                statement._delivery DESC
        ) AS recency
    FROM fluxiae__etat_mensuel_indiv AS statement
    SEMI JOIN several USING (emi_pph_id, emi_sme_annee, emi_sme_mois)
),
together AS (  -- nearly every employee has one statement of an annex and month: only the others are added up; whose
    -- pseudonyms begin alike go with them, and are told apart there
    SELECT coalesce(substr(person, 1, 12), '') AS beginning, emi_afi_id, _month
    FROM fluxiae__etat_mensuel_indiv
    GROUP BY coalesce(substr(person, 1, 12), ''), emi_afi_id, _month
    HAVING count(*) > 1
),
of_annexes AS (
    SELECT
        alone._space AS space,
        alone.person,
        alone.emi_afi_id AS annex_id,
        alone._month AS work_month,
        alone.sex,
        alone.age_band,
        alone.person_residence AS residence,
        CAST(CAST(coalesce(alone.emi_nb_heures_travail, 0) AS DECIMAL(18, 6)) AS DECIMAL(38, 6)) AS hours_worked,
        coalesce(alone.emi_salarie_tjs_accomp, FALSE) AS is_still_accompanied,
        contracts.rsa,
        contracts.unemployment_before,
        contracts.priority_area,
        contracts.education_band,
        contracts.has_disability_recognition
    FROM statements AS alone
    ANTI JOIN together
        ON together.beginning = coalesce(substr(alone.person, 1, 12), '') AND together.emi_afi_id = alone.emi_afi_id
        AND together._month = alone._month
    LEFT JOIN siae_contracts AS contracts
        ON contracts.space = alone._space AND contracts.contract_id = alone.emi_ctr_id
    WHERE alone.recency = 1
    UNION ALL
    SELECT
        added._space,
        added.person,
        added.emi_afi_id,
        added._month,
        max(added.sex),
        max(added.age_band),
        max(added.person_residence),
        sum(CAST(coalesce(added.emi_nb_heures_travail, 0) AS DECIMAL(18, 6))),
        bool_or(coalesce(added.emi_salarie_tjs_accomp, FALSE)),
        max(contracts.rsa),
        max(contracts.unemployment_before),
        max(contracts.priority_area),
        max(contracts.education_band),
        bool_or(contracts.has_disability_recognition)
    FROM statements AS added
    SEMI JOIN together
        ON together.beginning = coalesce(substr(added.person, 1, 12), '') AND together.emi_afi_id = added.emi_afi_id
        AND together._month = added._month
    LEFT JOIN siae_contracts AS contracts
        ON contracts.space = added._space AND contracts.contract_id = added.emi_ctr_id
    WHERE added.recency = 1
    GROUP BY added._space, added.person, added.emi_afi_id, added._month
),
from_fluxiae AS (
    SELECT
        of_annexes.space,
        of_annexes.person,
        annex.structure,
        annex.structure_territory,
        CAST(annex.annex_id AS VARCHAR) AS annex,
        annex.measure,
        annex.kind,
        of_annexes.work_month,
        of_annexes.sex,
        of_annexes.age_band,
        of_annexes.residence,
        of_annexes.hours_worked,
        annex.reference_hours,
        of_annexes.is_still_accompanied,
        of_annexes.rsa,
        of_annexes.unemployment_before,
        of_annexes.priority_area,
        of_annexes.education_band,
        of_annexes.has_disability_recognition,
        'fluxiae' AS source
    FROM of_annexes
    JOIN siae_annexes AS annex ON annex.space = of_annexes.space AND annex.annex_id = of_annexes.annex_id
),
stated_by_fluxiae AS (  -- of several versions of a statement one counts: any of them says that there is one
    SELECT DISTINCT annex.structure, stated.work_month
    FROM (SELECT DISTINCT _space, emi_afi_id, _month AS work_month FROM fluxiae__etat_mensuel_indiv) AS stated
    JOIN siae_annexes AS annex ON annex.space = stated._space AND annex.annex_id = stated.emi_afi_id
),
annexes_by_number AS (
    SELECT
        space, annex_number, structure,
        max(measure) AS measure,
        max(structure_territory) AS structure_territory,
        max(reference_hours) AS reference_hours
    FROM siae_annexes
    GROUP BY space, annex_number, structure
),
units AS (
    SELECT siret, min(territory_code) AS territory_code
    FROM reporting_units
    WHERE siret IS NOT NULL
    GROUP BY siret
),
declared AS (
    SELECT
        salaries.*,
        regexp_replace(salaries.annexe_numero, 'A[0-9](M[0-9])?$', '') AS annex_number,
        regexp_extract(salaries.annexe_numero, '^(ACIPA|ACI|AI|EIPA|EITI|EI|ETTI|FDI)', 1) AS kind
    FROM siae_monthly__salaries AS salaries
),
from_structures AS (
    SELECT
        declared._space AS space,
        declared.person,
        declared.siret AS structure,
        max(coalesce(annex.structure_territory, units.territory_code)) AS structure_territory,
        declared.annex_number AS annex,
        max(coalesce(annex.measure, declared.kind || '_DC')) AS measure,
        max(declared.kind) AS kind,
        declared._month AS work_month,
        max(declared.sex) AS sex,
        max(declared.age_band) AS age_band,
        max(declared.person_residence) AS residence,
        sum(CAST(coalesce(declared.heures_travaillees, 0) AS DECIMAL(18, 6))) AS hours_worked,
        max(coalesce(annex.reference_hours, CAST(reference.hours AS DECIMAL(18, 6)))) AS reference_hours,
        bool_or(coalesce(declared.toujours_accompagne, FALSE)) AS is_still_accompanied,
        max(declared.rsa) AS rsa,
        CAST(NULL AS VARCHAR) AS unemployment_before,
        CAST(NULL AS VARCHAR) AS priority_area,
        CAST(NULL AS VARCHAR) AS education_band,
        CAST(NULL AS BOOLEAN) AS has_disability_recognition,
        'siae_monthly' AS source
    FROM declared
    LEFT JOIN stated_by_fluxiae AS stated
        ON stated.structure = declared.siret AND stated.work_month = declared._month
    LEFT JOIN annexes_by_number AS annex
        ON annex.space = declared._space AND annex.annex_number = declared.annex_number
        AND annex.structure = declared.siret
    LEFT JOIN units ON units.siret = declared.siret
    LEFT JOIN etp_reference_hours AS reference ON reference.code = declared.kind
    WHERE stated.structure IS NULL AND declared.kind <> 'FDI'
    GROUP BY declared._space, declared.person, declared.siret, declared.annex_number, declared._month
),
every AS (
    SELECT * FROM from_fluxiae
    UNION ALL
    SELECT * FROM from_structures
),
years AS (
    SELECT space, person, substr(work_month, 1, 4) AS year, sum(hours_worked) AS hours_worked
    FROM every
    GROUP BY space, person, substr(work_month, 1, 4)
)
SELECT
    every.space,
    every.person,
    every.structure,
    every.structure_territory,
    every.annex,
    every.measure,
    every.kind,
    every.work_month,
    every.sex,
    every.age_band,
    every.residence,
    every.hours_worked,
    every.reference_hours,
    every.is_still_accompanied,
    every.rsa,
    every.unemployment_before,
    every.priority_area,
    every.education_band,
    every.has_disability_recognition,
    every.source,
    -- of the calendar year that the month stands in, up to the month
    substr(every.work_month, 1, 4) = substr(period.month, 1, 4) AS is_in_year,
    -- one hour in the year over all structures, annexes and months, not in each of them
    every.hours_worked > 0 AND years.hours_worked >= parameters.minimum_hours_worked AS is_worker_in_year,
    CAST(every.hours_worked / nullif(every.reference_hours, 0) AS DECIMAL(18, 6)) AS annual_etp
FROM every
CROSS JOIN period
CROSS JOIN parameters
JOIN years
    ON years.space = every.space AND years.person IS NOT DISTINCT FROM every.person
    AND years.year = substr(every.work_month, 1, 4)
