-- Contracts of insertion structures, as the newest delivery of the ASP knows them, with what the structure declared of
-- the person when hiring.
-- One row per contract. An initial contract has rank 0 and opens a chain; a renewal, the rank that the ASP gives it, and
-- belongs to the chain before it. A person who comes back with a new initial contract opens another chain.
-- grain: space, contract_id
WITH employees AS (
    SELECT _space AS space, salarie_id AS employee_id, max(salarie_adr_qpv_type) AS qpv
    FROM fluxiae__salarie
    CROSS JOIN period
    WHERE _month = period.month
    GROUP BY _space, salarie_id
),
ranked AS (
    SELECT
        contrat_mission.*,
        row_number() OVER (
            PARTITION BY _space, contrat_id_ctr
            ORDER BY contrat_date_sortie_definitive DESC NULLS LAST, contrat_motif_sortie_id, _delivery DESC
        ) AS recency
    FROM fluxiae__contrat_mission AS contrat_mission
    CROSS JOIN period
    WHERE contrat_mission._month = period.month
)
SELECT
    ranked._space AS space,
    ranked.contrat_id_ctr AS contract_id,
    ranked.person,
    ranked.sex,
    ranked.age_band,
    ranked.person_residence AS residence,
    ranked.contrat_id_structure AS structure_id,
    ranked.contrat_mesure_disp_code AS measure,
    ranked.contrat_type_contrat AS renewal_rank,
    count(CASE WHEN ranked.contrat_type_contrat = 0 THEN 1 END) OVER (
        PARTITION BY ranked._space, ranked.person, ranked.contrat_id_structure, ranked.contrat_mesure_disp_code
        ORDER BY ranked.contrat_date_embauche, ranked.contrat_type_contrat, ranked.contrat_id_ctr
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS chain,
    ranked.contrat_date_embauche AS hired_on,
    ranked.contrat_date_sortie_definitive AS left_on,
    ranked.contrat_motif_sortie_id AS exit_reason_id,
    ranked.contrat_salarie_rsa AS rsa,
    CASE ranked.contrat_salarie_rsa
        WHEN 'OUI-M' THEN 'RSA' WHEN 'OUI-NM' THEN 'RSA' WHEN 'NON' THEN 'SANS_RSA'
    END AS rsa_status,
    -- long unemployment is that of the hiring, by the structure's word: 12 to 23 months, 24 months or more; « 00 » is no
    -- registration at all
    CASE
        WHEN ranked.contrat_salarie_pe_duree_code = '03' THEN 'DELD'
        WHEN ranked.contrat_salarie_pe_duree_code = '04' THEN 'DETLD'
        WHEN ranked.contrat_salarie_pe_duree_code IN ('01', '02') THEN 'MOINS_12_MOIS'
        WHEN ranked.contrat_inscrit_pole_emploi = FALSE THEN 'NON_INSCRIT'
        WHEN ranked.contrat_inscrit_pole_emploi IS NULL AND ranked.contrat_salarie_pe_duree_code = '00' THEN 'NON_INSCRIT'
    END AS unemployment_before,
    CASE employees.qpv WHEN 'QP' THEN 'QPV' WHEN 'NQP' THEN 'HORS_QPV' END AS priority_area,
    -- levels as existing systems group them, by code of the level, never by the referential's row
    CASE
        WHEN ranked.contrat_niveau_de_formation_code IN ('00', '01', '60', '70') THEN 'INFRA_CAP'
        WHEN ranked.contrat_niveau_de_formation_code IN ('50', '51') THEN 'CAP_BEP'
        WHEN ranked.contrat_niveau_de_formation_code IN ('40', '41') THEN 'BAC'
        WHEN ranked.contrat_niveau_de_formation_code IN ('10', '20', '30') THEN 'SUPERIEUR'
    END AS education_band,
    ranked.contrat_salarie_rqth AS has_disability_recognition,
    ranked.contrat_orienteur_code AS referrer_code
FROM ranked
LEFT JOIN employees ON employees.space = ranked._space AND employees.employee_id = ranked.contrat_id_pph
WHERE ranked.recency = 1
