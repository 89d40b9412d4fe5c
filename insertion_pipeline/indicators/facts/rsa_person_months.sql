-- Adults of households known to the family benefit funds (CNAF flow) at the end of the month, with what the
-- department's own list says of their orientation.
-- One row per person and paying council: of several applications, the latest. Children and other dependants are left
-- out. The state is the payer's, as known at the end of the month, not consolidated.
-- grain: space, person, paying_council
WITH flows AS (
    SELECT
        flow._space AS space,
        flow.person,
        coalesce(units.territory_code, 'FR-DEP-' || CASE
            WHEN flow.ideparte LIKE '0__' THEN substr(flow.ideparte, 2) ELSE flow.ideparte
        END) AS paying_council,
        flow.etatdosrsa AS rights_state,
        flow.toppersdrodevorsa AS has_duties,
        flow.dtdemrsa AS applied_on,
        flow.fonorg AS payer,
        flow.sex,
        flow.age_band,
        flow.person_residence AS residence,
        row_number() OVER (
            PARTITION BY flow._space, flow.person, coalesce(units.territory_code, flow.ideparte)
            ORDER BY
                flow.dtdemrsa DESC NULLS LAST, flow.etatdosrsa, flow.toppersdrodevorsa DESC NULLS LAST,
                flow.rolepers DESC, flow.fonorg, flow._delivery DESC
        ) AS recency
    FROM cnaf_vrsb0801__personnes AS flow
    CROSS JOIN period
    LEFT JOIN reporting_units AS units ON units.unit = flow._partner
    WHERE flow._month = period.month AND flow.rolepers IN ('DEM', 'CJT') AND flow.person IS NOT NULL
),
pathways AS (
    SELECT
        list._space AS space,
        list.person,
        units.territory_code AS paying_council,
        list.orientation_type,
        list.orientation_date,
        coalesce(list.orientation_structure, list.structure) AS referent_body,
        list.support_start_date,
        list.support_end_date,
        list.cer_signed_on,
        list.rights_opening_date,
        row_number() OVER (
            PARTITION BY list._space, list.person, units.territory_code
            ORDER BY
                list.orientation_date DESC NULLS LAST, list.cer_signed_on DESC NULLS LAST,
                list.rights_opening_date DESC NULLS LAST, list.orientation_type, list._delivery DESC
        ) AS recency
    FROM department_list__beneficiaires AS list
    CROSS JOIN period
    LEFT JOIN reporting_units AS units ON units.unit = list._partner
    WHERE list._month = period.month AND list.person IS NOT NULL
)
SELECT
    period.month,
    flows.space,
    flows.person,
    flows.sex,
    flows.age_band,
    flows.residence,
    flows.paying_council,
    flows.payer,
    flows.rights_state,
    flows.rights_state IN ('2', '3', '4') AS has_open_right,
    flows.rights_state = '2' AND coalesce(flows.has_duties, FALSE) AS is_sdd_payable,
    flows.rights_state IN ('2', '3', '4') AND coalesce(flows.has_duties, FALSE) AS is_sdd_open,
    flows.applied_on,
    CASE
        WHEN date_diff('month', flows.applied_on, period.last_day) < 6 THEN 'M_LT6'
        WHEN date_diff('month', flows.applied_on, period.last_day) < 12 THEN 'M6T11'
        WHEN date_diff('month', flows.applied_on, period.last_day) < 24 THEN 'M12T23'
        WHEN date_diff('month', flows.applied_on, period.last_day) < 60 THEN 'M24T59'
        WHEN flows.applied_on IS NOT NULL THEN 'M_GE60'
    END AS seniority_band,
    -- oriented: has a decided orientation or a referent body that still stands at the end of the month
    pathways.person IS NOT NULL
        AND (pathways.orientation_date <= period.last_day
            OR (pathways.orientation_date IS NULL
                AND (pathways.orientation_type IS NOT NULL OR pathways.referent_body IS NOT NULL)))
        AND coalesce(pathways.support_end_date > period.last_day, TRUE) AS is_oriented,
    pathways.orientation_type,
    pathways.person IS NOT NULL AS is_in_department_list,
    pathways.cer_signed_on <= period.last_day AS has_signed_contract
FROM flows
CROSS JOIN period
LEFT JOIN pathways
    ON pathways.space = flows.space AND pathways.person = flows.person
    AND pathways.paying_council = flows.paying_council AND pathways.recency = 1
WHERE flows.recency = 1
