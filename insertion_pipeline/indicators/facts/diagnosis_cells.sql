-- Jobseekers counted by France Travail itself, with the barriers of their diagnosis: cells, not persons.
-- One row per local employment committee and combination of characteristics. A cell counts its jobseekers (`jobseekers`) and, for
-- each kind of barrier, those who have it; « diagnosed » and the number of barriers are properties of the cell.
-- Health barriers and the obligation to employ are not kept: they may not be crossed with anything.
-- grain: space, residence, statistical_category, sex, is_rsa, priority_area, is_diagnosed, has_barrier
SELECT
    period.month,
    diagnostics._space AS space,
    'FR-CLPE-' || replace(diagnostics.c_territoire_id, 'CLPE', '') AS residence,
    'CATEGORIE_' || diagnostics.categorie_statistique AS statistical_category,
    CASE diagnostics.sexe WHEN '1' THEN 'M' WHEN '2' THEN 'F' END AS sex,
    diagnostics.top_rsa AS is_rsa,
    CASE WHEN diagnostics.top_qpv THEN 'QPV' WHEN NOT diagnostics.top_qpv THEN 'HORS_QPV' END AS priority_area,
    coalesce(diagnostics.diag, FALSE) AS is_diagnosed,
    coalesce(diagnostics.n_nbcontraintesactives, 0) > 0 AS has_barrier,
    CAST(sum(coalesce(diagnostics.defm, 0)) AS BIGINT) AS jobseekers,
    CAST(sum(coalesce(diagnostics.contrainte_numerique, 0)) AS BIGINT) AS with_digital_barrier,
    CAST(sum(coalesce(diagnostics.contrainte_mobilite, 0)) AS BIGINT) AS with_mobility_barrier,
    CAST(sum(coalesce(diagnostics.contrainte_familiale, 0)) AS BIGINT) AS with_family_barrier,
    CAST(sum(coalesce(diagnostics.contrainte_savoir, 0)) AS BIGINT) AS with_basic_skills_barrier,
    CAST(sum(coalesce(diagnostics.contrainte_logement, 0)) AS BIGINT) AS with_housing_barrier,
    CAST(sum(coalesce(diagnostics.contrainte_financiere, 0)) AS BIGINT) AS with_financial_barrier,
    CAST(sum(coalesce(diagnostics.contrainte_admin_jurid, 0)) AS BIGINT) AS with_administrative_barrier
FROM ft_diagnosis__diagnostics AS diagnostics
CROSS JOIN period
WHERE diagnostics._month = period.month
GROUP BY ALL
