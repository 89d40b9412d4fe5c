-- Barriers of the employees of insertion structures: how many are concerned, how many are helped with them.
-- One row per annex in force and barrier (view Accompagnement of the ASP's flow; health and justice are left out).
-- The view holds duplicates: of an annex, the row changed last counts. Who is helped is concerned, even if undeclared.
-- grain: space, annex, siae_barrier
WITH declared AS (
    SELECT
        support.*,
        row_number() OVER (
            PARTITION BY support._space, support.acc_afi_id
            ORDER BY
                coalesce(support.acc_date_modification, support.acc_date_creation) DESC NULLS LAST,
                support.acc_id DESC, support._delivery DESC
        ) AS recency
    FROM fluxiae__accompagnement AS support
    CROSS JOIN period
    WHERE support._month = period.month
),
barriers AS (
    SELECT unnest(['ILLETTRISME', 'DEMARCHES', 'HEBERGEMENT', 'MOBILITE', 'SURENDETTEMENT', 'DISPONIBILITE'])
        AS siae_barrier
),
counted AS (
    SELECT
        declared._space AS space,
        CAST(declared.acc_afi_id AS VARCHAR) AS annex,
        barriers.siae_barrier,
        coalesce(CASE barriers.siae_barrier
            WHEN 'ILLETTRISME' THEN declared.acc_dif_nb_sal_conc_illetrisme
            WHEN 'DEMARCHES' THEN declared.acc_dif_nb_sal_conc_demarch
            WHEN 'HEBERGEMENT' THEN declared.acc_dif_nb_sal_conc_heberg
            WHEN 'MOBILITE' THEN declared.acc_dif_nb_sal_conc_mobilite
            WHEN 'SURENDETTEMENT' THEN declared.acc_dif_nb_sal_conc_surendet
            WHEN 'DISPONIBILITE' THEN declared.acc_dif_nb_sal_conc_manque_dispo
        END, 0) AS declared_concerned,
        coalesce(CASE barriers.siae_barrier
            WHEN 'ILLETTRISME' THEN declared.acc_dif_nb_sal_int_illetrisme
            WHEN 'DEMARCHES' THEN declared.acc_dif_nb_sal_int_demarch
            WHEN 'HEBERGEMENT' THEN declared.acc_dif_nb_sal_int_heberg
            WHEN 'MOBILITE' THEN declared.acc_dif_nb_sal_int_mobilite
            WHEN 'SURENDETTEMENT' THEN declared.acc_dif_nb_sal_int_surendet
            WHEN 'DISPONIBILITE' THEN declared.acc_dif_nb_sal_int_manque_dispo
        END, 0) + coalesce(CASE barriers.siae_barrier
            WHEN 'ILLETTRISME' THEN declared.acc_dif_nb_sal_ext_illetrisme
            WHEN 'DEMARCHES' THEN declared.acc_dif_nb_sal_ext_demarch
            WHEN 'HEBERGEMENT' THEN declared.acc_dif_nb_sal_ext_heberg
            WHEN 'MOBILITE' THEN declared.acc_dif_nb_sal_ext_mobilite
            WHEN 'SURENDETTEMENT' THEN declared.acc_dif_nb_sal_ext_surendet
            WHEN 'DISPONIBILITE' THEN declared.acc_dif_nb_sal_ext_manque_dispo
        END, 0) + coalesce(CASE barriers.siae_barrier
            WHEN 'ILLETTRISME' THEN declared.acc_dif_nb_sal_int_ext_illetrisme
            WHEN 'DEMARCHES' THEN declared.acc_dif_nb_sal_int_ext_demarch
            WHEN 'HEBERGEMENT' THEN declared.acc_dif_nb_sal_int_ext_heberg
            WHEN 'MOBILITE' THEN declared.acc_dif_nb_sal_int_ext_mobilite
            WHEN 'SURENDETTEMENT' THEN declared.acc_dif_nb_sal_int_ext_surendet
            WHEN 'DISPONIBILITE' THEN declared.acc_dif_nb_sal_int_ext_manque_dispo
        END, 0) AS helped
    FROM declared
    CROSS JOIN barriers
    WHERE declared.recency = 1
)
SELECT
    period.month,
    counted.space,
    counted.annex,
    annex.structure,
    annex.structure_territory,
    annex.kind,
    counted.siae_barrier,
    greatest(counted.declared_concerned, counted.helped) AS concerned,
    counted.helped
FROM counted
CROSS JOIN period
JOIN siae_annex_months AS annex ON annex.space = counted.space AND annex.annex = counted.annex
