-- Where each RSA beneficiary of the departments' pathways stands at the end of the month: orientation, contract, next.
-- One row per person and paying council: of several orientations, the latest one decided; of several contracts, the
-- latest one signed. Only a decided orientation counts; « SPE » is the body's own column of `orientation_bodies`.
-- « entry_delay »: from the RSA application (DREES) ; « contract_delay »: from the notification to the signature.
-- Nearly everybody stands once, and her row says all: only the others are grouped, ranked and joined again.
-- grain: space, person, paying_council
WITH rows_of_month AS (
    SELECT
        parcours._space AS space,
        coalesce(units.territory_code, 'FR') AS paying_council,
        parcours.*,
        parcours.orientation_date <= period.last_day AND coalesce(parcours.orientation_status, 'DECIDE') = 'DECIDE'
            AS is_decided,
        coalesce(parcours.cer_signed_on, parcours.cer_start_date) <= period.last_day AS is_signed
    FROM department_pathways__parcours AS parcours
    CROSS JOIN period
    LEFT JOIN reporting_units AS units ON units.unit = parcours._partner
    WHERE parcours._month = period.month AND parcours.person IS NOT NULL
),
several AS (  -- a pseudonym's beginning is short to compare; whoever shares one with another is ranked for nothing
    SELECT substr(person, 1, 12) AS beginning
    FROM department_pathways__parcours
    CROSS JOIN period
    WHERE _month = period.month AND person IS NOT NULL
    GROUP BY substr(person, 1, 12)
    HAVING count(*) > 1
),
rows_of_several AS (
    SELECT rows_of_month.*
    FROM rows_of_month
    SEMI JOIN several ON several.beginning = substr(rows_of_month.person, 1, 12)
),
persons AS (
    SELECT
        space, person, paying_council,
        max(sex) AS sex,
        max(age_band) AS age_band,
        max(person_residence) AS residence,
        max(rsa_application_date) AS applied_on,
        max(rights_opening_date) AS entered_on,
        bool_or(is_subject_to_rights_and_duties) AS has_duties,
        max(rsa_state) AS rights_state
    FROM rows_of_several
    GROUP BY space, person, paying_council
),
orientations AS (
    SELECT
        rows_of_several.*,
        row_number() OVER (
            PARTITION BY space, person, paying_council
            ORDER BY orientation_date DESC, orientation_rank DESC NULLS LAST, orientation_type, orientation_body,
                cer_signed_on DESC NULLS LAST, _delivery DESC
        ) AS recency
    FROM rows_of_several
    WHERE is_decided
),
first_orientations AS (  -- the first since she last applied: one of an earlier stay is not
    SELECT decided.space, decided.person, decided.paying_council, min(decided.orientation_date) AS oriented_on
    FROM rows_of_several AS decided
    JOIN persons USING (space, person, paying_council)
    WHERE decided.is_decided AND coalesce(decided.orientation_date >= persons.applied_on, TRUE)
    GROUP BY decided.space, decided.person, decided.paying_council
),
contracts AS (
    SELECT
        rows_of_several.*,
        row_number() OVER (
            PARTITION BY space, person, paying_council
            ORDER BY cer_signed_on DESC NULLS LAST, cer_start_date DESC NULLS LAST, cer_end_date DESC NULLS FIRST,
                cer_kind, _delivery DESC
        ) AS recency
    FROM rows_of_several
    WHERE is_signed
),
known AS (
    SELECT
        persons.space,
        persons.person,
        persons.paying_council,
        persons.sex,
        persons.age_band,
        persons.residence,
        persons.applied_on,
        persons.entered_on,
        persons.has_duties,
        persons.rights_state,
        first_orientations.oriented_on AS first_oriented_on,
        orientations.orientation_type,
        orientations.orientation_date AS oriented_on,
        coalesce(orientations.orientation_notified_on, orientations.orientation_date) AS notified_on,
        orientations.orientation_body,
        orientations.referent_pseudonym AS referent,
        orientations.reorientation_date AS reoriented_on,
        orientations.previous_orientation_body,
        orientations.pathway_end_date AS support_ends_on,
        contracts.cer_kind AS contract_kind,
        coalesce(contracts.cer_signed_on, contracts.cer_start_date) AS contracted_on,
        coalesce(contracts.cer_start_date, contracts.cer_signed_on) AS contract_begins_on,
        contracts.cer_end_date AS contract_ends_on
    FROM persons
    LEFT JOIN orientations
        ON orientations.space = persons.space AND orientations.person = persons.person
        AND orientations.paying_council = persons.paying_council AND orientations.recency = 1
    LEFT JOIN first_orientations
        ON first_orientations.space = persons.space AND first_orientations.person = persons.person
        AND first_orientations.paying_council = persons.paying_council
    LEFT JOIN contracts
        ON contracts.space = persons.space AND contracts.person = persons.person
        AND contracts.paying_council = persons.paying_council AND contracts.recency = 1
    UNION ALL
    SELECT  -- whoever stands once needs no ranking: her row says it all
        space,
        person,
        paying_council,
        sex,
        age_band,
        person_residence,
        rsa_application_date,
        rights_opening_date,
        is_subject_to_rights_and_duties,
        rsa_state,
        CASE WHEN is_decided AND coalesce(orientation_date >= rsa_application_date, TRUE) THEN orientation_date END,
        CASE WHEN is_decided THEN orientation_type END,
        CASE WHEN is_decided THEN orientation_date END,
        CASE WHEN is_decided THEN coalesce(orientation_notified_on, orientation_date) END,
        CASE WHEN is_decided THEN orientation_body END,
        CASE WHEN is_decided THEN referent_pseudonym END,
        CASE WHEN is_decided THEN reorientation_date END,
        CASE WHEN is_decided THEN previous_orientation_body END,
        CASE WHEN is_decided THEN pathway_end_date END,
        CASE WHEN is_signed THEN cer_kind END,
        CASE WHEN is_signed THEN coalesce(cer_signed_on, cer_start_date) END,
        CASE WHEN is_signed THEN coalesce(cer_start_date, cer_signed_on) END,
        CASE WHEN is_signed THEN cer_end_date END
    FROM rows_of_month
    ANTI JOIN several ON several.beginning = substr(rows_of_month.person, 1, 12)
),
dated AS (
    SELECT
        known.*,
        bodies.is_public_employment_service = '1' AS is_with_employment_service,
        before.is_public_employment_service = '1' AS was_with_employment_service
    FROM known
    LEFT JOIN orientation_bodies AS bodies ON bodies.code = known.orientation_body
    LEFT JOIN orientation_bodies AS before ON before.code = known.previous_orientation_body
)
SELECT
    period.month,
    dated.space,
    dated.person,
    dated.sex,
    dated.age_band,
    dated.residence,
    dated.paying_council,
    coalesce(dated.has_duties, FALSE) AND dated.rights_state = '2' AS is_sdd_payable,
    dated.orientation_type,
    dated.orientation_body,
    dated.referent,
    dated.oriented_on IS NOT NULL AND coalesce(dated.support_ends_on > period.last_day, TRUE) AS is_oriented,
    dated.is_with_employment_service,
    -- only a change between the public employment service and other bodies is a reorientation; a person counts once
    dated.reoriented_on BETWEEN period.first_day AND period.last_day
        AND dated.is_with_employment_service <> dated.was_with_employment_service AS is_reoriented_in_month,
    CASE
        WHEN dated.was_with_employment_service AND NOT dated.is_with_employment_service THEN 'SPE_VERS_HORS_SPE'
        WHEN NOT dated.was_with_employment_service AND dated.is_with_employment_service THEN 'HORS_SPE_VERS_SPE'
    END AS reorientation,
    dated.contract_kind,
    dated.contract_begins_on <= period.last_day AND coalesce(dated.contract_ends_on >= period.last_day, TRUE)
        AS has_valid_contract,
    dated.contract_ends_on > period.last_day AND dated.contract_ends_on < period.first_day + INTERVAL 3 MONTH
        AS contract_ends_soon,
    dated.contract_ends_on < period.last_day AS has_expired_contract,
    CASE
        WHEN dated.contract_ends_on IS NULL THEN NULL
        WHEN dated.contract_ends_on < dated.contract_begins_on + INTERVAL 6 MONTH - INTERVAL 1 DAY THEN 'M_LT6'
        WHEN dated.contract_ends_on < dated.contract_begins_on + INTERVAL 12 MONTH - INTERVAL 1 DAY THEN 'M6T11'
        ELSE 'M_GE12'
    END AS contract_length_band,
    date_diff('month', dated.applied_on, period.last_day) AS application_lag,
    date_diff('month', dated.entered_on, period.last_day) AS entry_lag,
    date_diff('month', dated.oriented_on, period.last_day) AS orientation_lag,
    date_diff('month', dated.notified_on, period.last_day) AS notification_lag,
    date_diff('month', dated.first_oriented_on, period.last_day) AS first_orientation_lag,
    CASE WHEN dated.first_oriented_on >= dated.applied_on
        THEN date_diff('day', dated.applied_on, dated.first_oriented_on) END AS entry_delay_days,
    -- whoever waits has waited until the end of the month: what a median with those who wait needs
    CASE
        WHEN dated.first_oriented_on >= dated.entered_on THEN date_diff('day', dated.entered_on, dated.first_oriented_on)
        WHEN dated.first_oriented_on IS NULL THEN date_diff('day', dated.entered_on, period.last_day)
    END AS orientation_wait_days,
    dated.first_oriented_on IS NOT NULL AS is_orientation_wait_over,
    CASE
        WHEN dated.contracted_on >= dated.notified_on THEN date_diff('day', dated.notified_on, dated.contracted_on)
        WHEN dated.contracted_on IS NULL OR dated.contracted_on < dated.notified_on
            THEN date_diff('day', dated.notified_on, period.last_day)
    END AS contract_wait_days,
    coalesce(dated.contracted_on >= dated.notified_on, FALSE) AS is_contract_wait_over,
    coalesce(dated.contracted_on >= dated.notified_on
        AND dated.contracted_on <= dated.notified_on + INTERVAL 1 MONTH, FALSE) AS is_contracted_within_month,
    coalesce(dated.contracted_on >= dated.notified_on
        AND dated.contracted_on < dated.notified_on + INTERVAL 2 MONTH, FALSE) AS is_contracted_within_two_months
FROM dated
CROSS JOIN period
