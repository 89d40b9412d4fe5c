-- What structures report beside hours, in their own monthly file: trainings and immersions (PMSMP).
-- One row per person, structure and annex. Structures that only the ASP's flow tells of are not in it.
-- grain: space, person, structure, annex
WITH units AS (  -- two declared units may share a SIRET: nothing counts twice for it
    SELECT siret, min(territory_code) AS territory_code
    FROM reporting_units
    WHERE siret IS NOT NULL
    GROUP BY siret
)
SELECT
    period.month,
    salaries._space AS space,
    salaries.person,
    max(salaries.sex) AS sex,
    max(salaries.age_band) AS age_band,
    max(salaries.person_residence) AS residence,
    salaries.siret AS structure,
    coalesce(max(units.territory_code), max(deposits.territory_code)) AS structure_territory,
    regexp_replace(salaries.annexe_numero, 'A[0-9](M[0-9])?$', '') AS annex,
    regexp_extract(salaries.annexe_numero, '^(ACIPA|ACI|AI|EIPA|EITI|EI|ETTI|FDI)', 1) AS kind,
    sum(CAST(coalesce(salaries.formation_heures, 0) AS DECIMAL(18, 6))) AS training_hours,
    sum(CAST(coalesce(salaries.pmsmp_jours, 0) AS DECIMAL(18, 6))) AS immersion_days,
    max(salaries.prescripteur_code) AS referrer_code
FROM siae_monthly__salaries AS salaries
CROSS JOIN period
LEFT JOIN units ON units.siret = salaries.siret
LEFT JOIN reporting_units AS deposits ON deposits.unit = salaries._partner
WHERE salaries._month = period.month AND salaries.person IS NOT NULL
GROUP BY ALL
