-- Receipts of the market activity of insertion structures, by sector (view MarchesPublics of the ASP's flow).
-- One row per annex in force and sector. The view holds duplicates: of an annex, the row created last counts, whole.
-- grain: space, annex, sector
WITH declared AS (
    SELECT
        receipts.*,
        row_number() OVER (
            PARTITION BY receipts._space, receipts.mpu_af_id
            ORDER BY receipts.mpu_date_creation DESC NULLS LAST, receipts._delivery DESC
        ) AS recency
    FROM fluxiae__marches_publics AS receipts
    CROSS JOIN period
    WHERE receipts._month = period.month
),
sectors AS (
    SELECT unnest(['AGRI', 'BTP', 'NETTOYAGE', 'RECYCLAGE', 'SERVICES', 'TRANSPORT', 'AUTRES']) AS sector
)
SELECT
    period.month,
    annex.space,
    annex.annex,
    annex.structure,
    annex.structure_territory,
    annex.kind,
    sectors.sector,
    CAST(coalesce(CASE sectors.sector
        WHEN 'AGRI' THEN declared.mpu_sct_mt_recet_agri
        WHEN 'BTP' THEN declared.mpu_sct_mt_recet_btp
        WHEN 'NETTOYAGE' THEN declared.mpu_sct_mt_recet_nettoyage
        WHEN 'RECYCLAGE' THEN declared.mpu_sct_mt_recet_recycl
        WHEN 'SERVICES' THEN declared.mpu_sct_mt_recet_serv_pers
        WHEN 'TRANSPORT' THEN declared.mpu_sct_mt_recet_transp
        WHEN 'AUTRES' THEN declared.mpu_sct_mt_recet_autres
    END, 0) AS DECIMAL(18, 6)) AS receipts
FROM declared
CROSS JOIN period
CROSS JOIN sectors
JOIN siae_annex_months AS annex
    ON annex.space = declared._space AND annex.annex = CAST(declared.mpu_af_id AS VARCHAR)
WHERE declared.recency = 1
