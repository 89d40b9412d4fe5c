-- Adults of households known to the family benefit funds (CNAF flow) at the end of the month, with what the
-- department's own list says of their orientation.
-- One row per person and paying council: of several applications, that of the right most open (an application that waits
-- for its decision closes no right), then the latest. Children and other dependants are left out.
-- The state is the payer's, as known at the end of the month, not consolidated. Whom two councils pay stands twice, and
-- counts once where she lives.
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
        CASE  -- of the right: open and payable, open, any other state, none told
            WHEN flow.etatdosrsa = '2' THEN 3 WHEN flow.etatdosrsa IN ('3', '4') THEN 2
            WHEN flow.etatdosrsa IS NOT NULL THEN 1 ELSE 0
        END AS openness,
        flow.dtdemrsa AS applied_on,
        flow.fonorg AS payer,
        flow.sex,
        flow.age_band,
        flow.person_residence AS residence,
        flow.rolepers AS role,
        flow._delivery AS delivery
    FROM cnaf_vrsb0801__personnes AS flow
    CROSS JOIN period
    LEFT JOIN reporting_units AS units ON units.unit = flow._partner
    WHERE flow._month = period.month AND flow.rolepers IN ('DEM', 'CJT') AND flow.person IS NOT NULL
),
flows_of_several AS (  -- few stand more than once: only they are ranked
    SELECT space, person FROM flows GROUP BY space, person HAVING count(*) > 1
),
latest_flows AS (
    SELECT flows.*, 1 AS recency FROM flows ANTI JOIN flows_of_several USING (space, person)
    UNION ALL
    SELECT
        flows.*,
        row_number() OVER (
            PARTITION BY flows.space, flows.person, flows.paying_council
            ORDER BY
                flows.openness DESC, coalesce(flows.has_duties, FALSE) DESC, flows.applied_on DESC NULLS LAST,
                flows.rights_state, flows.role DESC, flows.payer, flows.delivery DESC
        ) AS recency
    FROM flows
    SEMI JOIN flows_of_several USING (space, person)
),
councils_of_several AS (  -- the right most open counts for the person, then the latest application
    SELECT
        flows.space, flows.person, flows.paying_council,
        row_number() OVER (
            PARTITION BY flows.space, flows.person
            ORDER BY
                flows.openness DESC, coalesce(flows.has_duties, FALSE) DESC, flows.applied_on DESC NULLS LAST,
                flows.paying_council
        ) AS rank
    FROM latest_flows AS flows
    SEMI JOIN flows_of_several USING (space, person)
    WHERE flows.recency = 1
),
lists AS (
    SELECT
        list._space AS space,
        list.person,
        units.territory_code AS paying_council,
        list.orientation_type,
        list.orientation_date,
        coalesce(list.orientation_structure, list.structure) AS referent_body,
        list.support_end_date,
        list.cer_signed_on,
        list.rights_opening_date,
        list._delivery AS delivery
    FROM department_list__beneficiaires AS list
    CROSS JOIN period
    LEFT JOIN reporting_units AS units ON units.unit = list._partner
    WHERE list._month = period.month AND list.person IS NOT NULL
),
lists_of_several AS (
    SELECT space, person FROM lists GROUP BY space, person HAVING count(*) > 1
),
pathways AS (
    SELECT lists.*, 1 AS recency FROM lists ANTI JOIN lists_of_several USING (space, person)
    UNION ALL
    SELECT
        lists.*,
        row_number() OVER (
            PARTITION BY lists.space, lists.person, lists.paying_council
            ORDER BY
                lists.orientation_date DESC NULLS LAST, lists.cer_signed_on DESC NULLS LAST,
                lists.rights_opening_date DESC NULLS LAST, lists.orientation_type, lists.delivery DESC
        ) AS recency
    FROM lists
    SEMI JOIN lists_of_several USING (space, person)
)
SELECT
    period.month,
    flows.space,
    flows.person,
    flows.sex,
    flows.age_band,
    flows.residence,
    flows.paying_council,
    coalesce(councils.rank, 1) = 1 AS is_counted_at_residence,
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
        AND CASE
            WHEN pathways.orientation_date IS NOT NULL THEN pathways.orientation_date <= period.last_day
            ELSE pathways.orientation_type IS NOT NULL OR pathways.referent_body IS NOT NULL
        END
        AND coalesce(pathways.support_end_date > period.last_day, TRUE) AS is_oriented,
    pathways.orientation_type,
    pathways.person IS NOT NULL AS is_in_department_list,
    pathways.cer_signed_on <= period.last_day AS has_signed_contract
FROM latest_flows AS flows
CROSS JOIN period
LEFT JOIN councils_of_several AS councils
    ON councils.space = flows.space AND councils.person = flows.person
    AND councils.paying_council = flows.paying_council
LEFT JOIN pathways
    ON pathways.space = flows.space AND pathways.person = flows.person
    AND pathways.paying_council = flows.paying_council AND pathways.recency = 1
WHERE flows.recency = 1
