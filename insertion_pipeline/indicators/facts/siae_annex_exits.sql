-- Annexes with exits over the twelve months that end with the month, against the objectives that they were given.
-- One row per annex that has an objective. Whether the objective is reached is said of the annex, never of a person.
-- grain: space, structure, annex
SELECT
    max(exits.month) AS month,
    exits.space,
    exits.structure,
    exits.annex,
    max(exits.structure_territory) AS structure_territory,
    max(exits.kind) AS kind,
    count(*) AS n_exits,
    count(*) FILTER (WHERE exits.is_dynamic) AS n_dynamic_exits,
    max(exits.objective_dynamic_exits) AS objective_dynamic_exits,
    count(*) FILTER (WHERE exits.is_dynamic) >= max(exits.objective_dynamic_exits) * count(*) AS is_objective_reached
FROM siae_exits AS exits
WHERE exits.is_counted AND exits.objective_dynamic_exits IS NOT NULL
GROUP BY exits.space, exits.structure, exits.annex
