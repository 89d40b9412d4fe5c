-- Jobseekers registered at the employment service at the end of the month.
-- One row per person and country. French categories are the source's own codes (1 to 8); Walloon ones the four classes
-- of DEI. They are never added. A Walloon registration that ceased by the end of the month is not one.
-- grain: space, person
WITH french AS (
    SELECT
        demandeurs._space AS space,
        demandeurs.person,
        demandeurs.sex,
        demandeurs.age_band,
        demandeurs.person_residence AS residence,
        'CAT_' || demandeurs.categorie_inscription AS category,
        demandeurs.inscription AS registered_on,
        demandeurs.brsa AS is_rsa,
        coalesce(demandeurs.dif_financiere, FALSE) AS has_financial_barrier,
        coalesce(demandeurs.dif_admin_jur, FALSE) AS has_administrative_barrier,
        coalesce(demandeurs.dif_logement, FALSE) AS has_housing_barrier,
        coalesce(demandeurs.dif_transport, FALSE) AS has_mobility_barrier,
        coalesce(demandeurs.dif_inser_com, FALSE) AS has_social_barrier,
        coalesce(demandeurs.dif_familiale, FALSE) AS has_family_barrier,
        demandeurs.modalite_accompagnement AS support_mode,
        demandeurs.der_entretien AS last_contact_on,
        demandeurs.struct_principale IS NOT NULL OR demandeurs.modalite_accompagnement IS NOT NULL AS has_referent,
        demandeurs._delivery AS delivery
    FROM ft_spie__demandeurs AS demandeurs
    CROSS JOIN period
    WHERE demandeurs._month = period.month AND demandeurs.person IS NOT NULL
),
walloon AS (
    SELECT
        demandeurs._space AS space,
        demandeurs.person,
        demandeurs.sex,
        demandeurs.age_band,
        demandeurs.person_residence AS residence,
        demandeurs.categorie AS category,
        demandeurs.date_inscription AS registered_on,
        CAST(NULL AS BOOLEAN) AS is_rsa,
        CAST(NULL AS BOOLEAN) AS has_financial_barrier,
        CAST(NULL AS BOOLEAN) AS has_administrative_barrier,
        CAST(NULL AS BOOLEAN) AS has_housing_barrier,
        CAST(NULL AS BOOLEAN) AS has_mobility_barrier,
        CAST(NULL AS BOOLEAN) AS has_social_barrier,
        CAST(NULL AS BOOLEAN) AS has_family_barrier,
        CASE WHEN demandeurs.cpas THEN 'CPAS' ELSE 'HORS_CPAS' END AS support_mode,
        demandeurs.date_dernier_contact AS last_contact_on,
        TRUE AS has_referent,
        demandeurs._delivery AS delivery
    FROM forem_jobseekers__demandeurs AS demandeurs
    CROSS JOIN period
    WHERE demandeurs._month = period.month
        AND demandeurs.person IS NOT NULL
        AND coalesce(demandeurs.date_cessation > period.last_day, TRUE)
),
every AS (
    SELECT * FROM french
    UNION ALL
    SELECT * FROM walloon
),
several AS (  -- few stand more than once: only they are ranked
    SELECT space, person FROM every GROUP BY space, person HAVING count(*) > 1
),
latest AS (
    SELECT every.*, 1 AS recency FROM every ANTI JOIN several USING (space, person)
    UNION ALL
    SELECT
        every.*,
        row_number() OVER (
            PARTITION BY every.space, every.person
            ORDER BY
                every.registered_on DESC NULLS LAST, every.category, every.last_contact_on DESC NULLS LAST,
                every.residence, every.support_mode, every.delivery DESC
        ) AS recency
    FROM every
    SEMI JOIN several USING (space, person)
)
SELECT
    period.month,
    latest.space,
    latest.person,
    latest.sex,
    latest.age_band,
    latest.residence,
    latest.category,
    latest.registered_on,
    CASE
        WHEN date_diff('month', latest.registered_on, period.last_day) < 12 THEN 'M_LT12'
        WHEN date_diff('month', latest.registered_on, period.last_day) < 24 THEN 'M12T23'
        WHEN latest.registered_on IS NOT NULL THEN 'M_GE24'
    END AS registration_band,
    latest.registered_on BETWEEN period.first_day AND period.last_day AS is_new,
    latest.is_rsa,
    latest.has_financial_barrier,
    latest.has_administrative_barrier,
    latest.has_housing_barrier,
    latest.has_mobility_barrier,
    latest.has_social_barrier,
    latest.has_family_barrier,
    latest.has_financial_barrier OR latest.has_administrative_barrier OR latest.has_housing_barrier
        OR latest.has_mobility_barrier OR latest.has_social_barrier OR latest.has_family_barrier AS has_barrier,
    list_filter(
        [
            CASE WHEN latest.has_financial_barrier THEN 'FINANCIER' END,
            CASE WHEN latest.has_administrative_barrier THEN 'ADMINISTRATIF' END,
            CASE WHEN latest.has_housing_barrier THEN 'LOGEMENT' END,
            CASE WHEN latest.has_mobility_barrier THEN 'MOBILITE' END,
            CASE WHEN latest.has_social_barrier THEN 'SOCIAL' END,
            CASE WHEN latest.has_family_barrier THEN 'FAMILIAL' END
        ],
        lambda barrier: barrier IS NOT NULL
    ) AS barriers,
    latest.support_mode,
    -- criteria of eligibility to insertion structures that this file shows: one of level 1, or three of level 2
    CASE
        WHEN latest.space <> 'fr' THEN NULL
        WHEN coalesce(latest.is_rsa, FALSE) THEN TRUE
        WHEN date_diff('month', latest.registered_on, period.last_day) >= 24 THEN TRUE
        ELSE CAST(coalesce(date_diff('month', latest.registered_on, period.last_day) BETWEEN 12 AND 23, FALSE) AS INTEGER)
            + CAST(coalesce(latest.age_band IN ('Y_LT26', 'Y_GE50'), FALSE) AS INTEGER)
            + CAST(coalesce(latest.has_mobility_barrier, FALSE) AS INTEGER) >= 3
    END AS is_identifiable_for_iae,
    employees.person IS NOT NULL AS is_in_iae,
    -- followed: a referent, and a contact less than three months old at the end of the month
    latest.has_referent
        AND coalesce(latest.last_contact_on >= period.first_day - INTERVAL 2 MONTH, FALSE)
        AND latest.last_contact_on <= period.last_day AS is_accompanied
FROM latest
CROSS JOIN period
LEFT JOIN (SELECT DISTINCT space, person FROM siae_work_months WHERE is_worker) AS employees
    ON employees.space = latest.space AND employees.person = latest.person
WHERE latest.recency = 1
