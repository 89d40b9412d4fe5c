-- Trainings of jobseekers that France Travail reports, from the month's file.
-- One row per person, training and first day. Employment six months after is what France Travail observes, or unknown.
-- « entry_lag », « exit_lag »: months between the first or the last day and the month.
-- grain: space, person, training, entered_on
WITH persons AS (
    SELECT space, person, sex, age_band, residence
    FROM jobseeker_months
),
ranked AS (
    SELECT
        formations._space AS space,
        formations.person,
        coalesce(formations.formation_code, formations.intitule, '') AS training,
        formations.date_entree AS entered_on,
        formations.date_sortie AS left_on,
        formations.objectif_formation AS objective,
        formations.financeur AS funder,
        formations.issue AS outcome,
        formations.emploi_6_mois AS is_employed_after,
        coalesce(persons.sex, formations.sex) AS sex,
        coalesce(persons.age_band, formations.age_band) AS age_band,
        coalesce(persons.residence, formations.person_residence) AS residence,
        row_number() OVER (
            PARTITION BY formations._space, formations.person,
                coalesce(formations.formation_code, formations.intitule, ''), formations.date_entree
            ORDER BY formations.date_sortie DESC NULLS LAST, formations.financeur, formations.issue,
                formations.emploi_6_mois, formations._delivery DESC
        ) AS recency
    FROM ft_actions__formations AS formations
    CROSS JOIN period
    LEFT JOIN persons ON persons.space = formations._space AND persons.person = formations.person
    WHERE formations._month = period.month AND formations.person IS NOT NULL
        AND formations.date_entree <= period.last_day
)
SELECT
    period.month,
    ranked.space,
    ranked.person,
    ranked.sex,
    ranked.age_band,
    ranked.residence,
    ranked.training,
    ranked.entered_on,
    ranked.left_on,
    ranked.objective AS training_objective,
    ranked.funder AS training_funder,
    ranked.outcome AS training_outcome,
    ranked.is_employed_after,
    date_diff('month', ranked.entered_on, period.last_day) AS entry_lag,
    CASE WHEN ranked.left_on <= period.last_day
        THEN date_diff('month', ranked.left_on, period.last_day) END AS exit_lag
FROM ranked
CROSS JOIN period
WHERE ranked.recency = 1
