"""The report of a release: a small French site that opens from a folder, without network and even without script.

Belongs here: pages, their words, charts and maps. Does not belong here: any number that is not in the published tables
or in the certificate; no difference and no sum is computed here.
"""

from insertion_pipeline.publication.report.site import write_report

__all__ = ["write_report"]
