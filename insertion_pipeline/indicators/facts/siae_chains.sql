-- Stays in insertion structures: the chains of contracts of a person in a structure and measure.
-- One row per person, structure, measure and chain. Recruitment is the first contract of the chain; renewals belong to it.
-- grain: space, person, structure_id, measure, chain
WITH chains AS (
    SELECT
        space,
        person,
        structure_id,
        measure,
        chain,
        min(hired_on) AS recruited_on,
        max(hired_on) AS last_hired_on,
        count(*) AS n_contracts,
        max(sex) AS sex,
        max(age_band) AS age_band,
        max(residence) AS residence,
        min_by(rsa_status, hired_on) AS rsa_status,
        min_by(referrer_code, hired_on) AS referrer_code
    FROM siae_contracts
    WHERE person IS NOT NULL AND hired_on IS NOT NULL
    GROUP BY space, person, structure_id, measure, chain
),
structures AS (
    SELECT
        space, structure_id,
        max(structure) AS structure,
        max(structure_territory) AS structure_territory
    FROM siae_annexes
    GROUP BY space, structure_id
),
worked AS (  -- a chain without an hour is no recruitment
    SELECT space, person, structure, kind, max(work_month) AS last_month
    FROM siae_hours
    WHERE hours_worked > 0
    GROUP BY space, person, structure, kind
)
SELECT
    period.month,
    chains.space,
    chains.person,
    chains.sex,
    chains.age_band,
    chains.residence,
    chains.structure_id,
    structures.structure,
    structures.structure_territory,
    chains.measure,
    chains.chain,
    split_part(chains.measure, '_', 1) AS kind,
    chains.recruited_on,
    chains.last_hired_on,
    chains.n_contracts,
    chains.rsa_status,
    chains.referrer_code,
    chains.recruited_on BETWEEN period.first_day AND period.last_day AS is_recruited_in_month,
    coalesce(worked.last_month >= strftime(chains.recruited_on, '%Y-%m'), FALSE) AS has_worked
FROM chains
CROSS JOIN period
LEFT JOIN structures ON structures.space = chains.space AND structures.structure_id = chains.structure_id
LEFT JOIN worked
    ON worked.space = chains.space AND worked.person = chains.person
    AND worked.structure = structures.structure AND worked.kind = split_part(chains.measure, '_', 1)
