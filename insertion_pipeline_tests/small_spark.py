"""Spark on this machine for a few rows: what its tests and its rehearsal share.

Belongs here: when there is none, settings that make it quick to start. Does not belong here: a session, an assertion.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping

from insertion_pipeline_tests.conftest import absent

#: Nothing that small is worth compiling, or spreading.
QUICK: Mapping[str, str] = {
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


def need_spark() -> None:
    """Skip visibly without pyspark or Java, or fail where `INSERTION_REQUIRE` names java."""
    if importlib.util.find_spec("pyspark") is None:
        absent("java", "pyspark is absent (make spark)")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        absent("java", "Java is absent")
