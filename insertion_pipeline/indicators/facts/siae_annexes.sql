-- The financial annexes of insertion structures, as the newest delivery knows them.
-- One row per annex: of its amendments, those in a kept state (VALIDE, PROVISOIRE, CLOTURE), then the latest one.
-- Joining anything on the raw view would multiply hours and contracted posts by the number of amendments.
-- grain: space, annex_id
WITH amendments AS (
    SELECT
        annexe.*,
        row_number() OVER (
            PARTITION BY annexe._space, annexe.af_id_annexe_financiere
            ORDER BY
                annexe.af_numero_avenant_renouvellement DESC NULLS LAST,
                annexe.af_numero_avenant_modification DESC NULLS LAST,
                annexe.af_id_avenant_modification DESC NULLS LAST,
                annexe.af_motif_rejet_id DESC NULLS LAST,
                annexe.af_etp_postes_insertion DESC NULLS LAST,
                annexe._delivery DESC
        ) AS recency
    FROM fluxiae__annexe_financiere AS annexe
    CROSS JOIN period
    WHERE annexe._month = period.month
        AND annexe.af_etat_annexe_financiere_code IN ('VALIDE', 'PROVISOIRE', 'CLOTURE')
        AND annexe.af_mesure_dispositif_code NOT LIKE 'FDI%'  -- a subsidy, not a workforce
),
structures AS (
    SELECT
        _space AS space,
        structure_id_siae AS structure_id,
        max(coalesce(structure_siret_actualise, structure_siret_signature)) AS siret,
        max(structure_adresse_admin_code_insee) AS commune
    FROM fluxiae__structure
    CROSS JOIN period
    WHERE _month = period.month
    GROUP BY _space, structure_id_siae
),
reference_hours AS (
    SELECT _space AS space, rmi_id, max(rmi_valeur) AS hours
    FROM fluxiae__ref_montant_iae
    CROSS JOIN period
    WHERE _month = period.month
    GROUP BY _space, rmi_id
),
amounts AS (
    SELECT _space AS space, rmi_id, max(rmi_valeur) AS amount
    FROM fluxiae__ref_montant_iae
    CROSS JOIN period
    WHERE _month = period.month
    GROUP BY _space, rmi_id
),
units AS (
    SELECT siret, min(territory_code) AS territory_code
    FROM reporting_units
    WHERE siret IS NOT NULL
    GROUP BY siret
)
SELECT
    amendments._space AS space,
    amendments.af_id_annexe_financiere AS annex_id,
    amendments.af_numero_annexe_financiere AS annex_number,
    coalesce(structures.siret, 'ASP-' || CAST(amendments.af_id_structure AS VARCHAR)) AS structure,
    coalesce('FR-COM-' || structures.commune, units.territory_code) AS structure_territory,
    amendments.af_id_structure AS structure_id,
    amendments.af_mesure_dispositif_code AS measure,
    split_part(amendments.af_mesure_dispositif_code, '_', 1) AS kind,
    amendments.af_date_debut_effet AS begins_on,
    amendments.af_date_fin_effet AS ends_on,
    CAST(coalesce(amendments.af_etp_postes_insertion, 0) AS DECIMAL(18, 6)) AS etp_contracted,
    -- the hours of one full-time year stand in the annex and in the referential, joined by its own id, never by code
    CAST(coalesce(reference_hours.hours, amendments.af_duree_heure_annuel_etp_valeur) AS DECIMAL(18, 6))
        AS reference_hours,
    -- four zeros with forecast exits mean that the objectives were not filled in
    CASE
        WHEN amendments.af_taux_prev_sorties_dynamiques > 0
        THEN CAST(amendments.af_taux_prev_sorties_dynamiques / 100 AS DECIMAL(18, 6))
    END AS objective_dynamic_exits,
    -- euros of one month: contracted posts × the amount of a full-time year / 12, of which the council's share
    CAST(coalesce(amendments.af_etp_postes_insertion, 0) * coalesce(amounts.amount,
        amendments.af_montant_unitaire_annuel_valeur) / 12 AS DECIMAL(18, 6)) AS aid_of_month,
    CASE
        WHEN amendments.af_montant_total_annuel > 0
        THEN CAST(least(coalesce(amendments.af_mt_cofinance, 0) / amendments.af_montant_total_annuel, 1)
            AS DECIMAL(18, 6))
    END AS council_share
FROM amendments
LEFT JOIN structures
    ON structures.space = amendments._space AND structures.structure_id = amendments.af_id_structure
LEFT JOIN reference_hours
    ON reference_hours.space = amendments._space AND reference_hours.rmi_id = amendments.af_duree_heure_annuel_etp_id
LEFT JOIN amounts  -- another row of the same referential: the amount, not the hours
    ON amounts.space = amendments._space AND amounts.rmi_id = amendments.af_montant_unitaire_annuel_id
LEFT JOIN units ON units.siret = structures.siret
WHERE amendments.recency = 1
