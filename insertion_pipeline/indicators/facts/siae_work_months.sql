-- Employees of insertion structures in the month, with the hours that the structure states for it.
-- One row per person, structure and annex. Hours are paid hours in ACI, worked hours elsewhere; an hour of one kind is
-- only added to an hour of another as ETP, over each kind's own hours of a full-time year.
-- grain: space, person, structure, annex
SELECT
    period.month,
    hours.space,
    hours.person,
    hours.sex,
    hours.age_band,
    hours.residence,
    hours.structure,
    hours.structure_territory,
    hours.annex,
    hours.measure,
    hours.kind,
    hours.hours_worked,
    CAST(hours.hours_worked * 12 / nullif(hours.reference_hours, 0) AS DECIMAL(18, 6)) AS etp,
    -- one hour in the month over all structures and annexes, not in each of them
    hours.hours_worked > 0
        AND sum(hours.hours_worked) OVER (PARTITION BY hours.space, hours.person) >= parameters.minimum_hours_worked
        AS is_worker,
    hours.is_still_accompanied,
    hours.rsa IN ('OUI-M', 'OUI-NM') AS is_rsa,
    CASE hours.rsa WHEN 'OUI-M' THEN 'RSA' WHEN 'OUI-NM' THEN 'RSA' WHEN 'NON' THEN 'SANS_RSA' END AS rsa_status,
    coalesce(hours.unemployment_before, 'INCONNU') AS unemployment_before,
    coalesce(hours.priority_area, 'INCONNU') AS priority_area,
    coalesce(hours.education_band, 'INCONNU') AS education_band,
    hours.has_disability_recognition,
    hours.source
FROM siae_hours AS hours
CROSS JOIN period
CROSS JOIN parameters
WHERE hours.work_month = period.month
