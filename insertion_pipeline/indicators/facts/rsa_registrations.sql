-- RSA beneficiaries with an open right, and whether the employment service knows them.
-- One row per person. Not found this month: found in one of the twelve months before (« ceased »), or
-- never. A link that was missed makes a beneficiary look unknown: the error of these counts is that of the linkage.
-- grain: space, person
WITH beneficiaries AS (
    SELECT month, space, person, sex, age_band, residence, paying_council, payer
    FROM rsa_person_months
    WHERE has_open_right AND is_counted_at_residence
),
registered AS (
    SELECT space, person, category
    FROM jobseeker_months
    WHERE space = 'fr'
),
not_registered AS (
    SELECT space, person
    FROM beneficiaries
    ANTI JOIN registered USING (space, person)
),
registered_before AS (
    SELECT DISTINCT not_registered.space, not_registered.person
    FROM jobseeker_months__earlier AS earlier
    JOIN not_registered USING (space, person)
)
SELECT
    beneficiaries.month,
    beneficiaries.space,
    beneficiaries.person,
    beneficiaries.sex,
    beneficiaries.age_band,
    beneficiaries.residence,
    beneficiaries.paying_council,
    beneficiaries.payer,
    CASE
        WHEN registered.category = 'CAT_G' THEN 'INSCRIT_G'
        WHEN registered.person IS NOT NULL THEN 'INSCRIT'
        WHEN registered_before.person IS NOT NULL THEN 'INSCRIT_ANTERIEUREMENT'
        ELSE 'JAMAIS_TROUVE'
    END AS employment_service_status
FROM beneficiaries
LEFT JOIN registered USING (space, person)
LEFT JOIN registered_before USING (space, person)
