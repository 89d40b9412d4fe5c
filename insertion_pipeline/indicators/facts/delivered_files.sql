-- Files delivered for the month, where their lines went, and how sure it is who their records are.
-- One row per partner and source. No person stands in it.
-- grain: space, partner, source
SELECT
    period.month,
    accounts.space,
    accounts.partner,
    accounts.source,
    max(units.territory_code) AS deposit_territory,
    max(units.family) AS family,
    CAST(sum(accounts.lines) AS BIGINT) AS lines,
    CAST(sum(accounts.accepted) AS BIGINT) AS accepted_lines,
    CAST(sum(accounts.rejected) AS BIGINT) AS rejected_lines,
    CAST(coalesce(sum(accounts.records), 0) AS BIGINT) AS records,
    CAST(coalesce(sum(accounts.uncertain_records), 0) AS BIGINT) AS uncertain_records
FROM delivered_accounts AS accounts
CROSS JOIN period
LEFT JOIN reporting_units AS units ON units.unit = accounts.partner
GROUP BY ALL
