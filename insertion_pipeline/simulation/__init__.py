"""A seeded population, its situations month by month, and its partners' exports in their real formats, with the truth.

For the demo, the tests, the benchmarks and the measurement of record linkage. Every draw is a pure function of the
seed, a purpose and an index (`randomness`), so that the same seed gives the same bytes.

    randomness                  draws without state
    names · places              what people are called, where they live
    population                  who they really are
    situations                  what happens to them, month by month
    observing                   what a partner writes down about them, with its mistakes
    blemishes                   cells that a partner has to be told about
    canonical                   the same as canonical person records, for record linkage
    delivering                  bytes: delimited text, workbooks, archives, reproducible
    siae · department · employment · ale      one module per partner family: its files
    truth                       what the indicators should find
    country                     partners enough for a whole country
    simulating                  a whole network: the public door
"""
