-- Who follows whom in the month: what passages and ruptures are drawn from.
-- One row per person and family that follows her (see `network_person_months`).
-- grain: space, person, family
SELECT month, space, person, unnest(string_split(families_accompanying, '+')) AS family
FROM network_person_months
WHERE n_families_accompanying > 0
