"""Reads a report's file, and gives nothing out that the task did not write."""

from __future__ import annotations

import hashlib
import hmac

from airflow.configuration import conf

from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.plugin.manifests import Report
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import locate

MAX_BYTES = 64 * 1024 * 1024
"""The largest file that is read: reports have some 3 MB, and a request must not fill the memory."""


class NotTheReport(Exception):
    """There is no such file, or it is not the one that the task wrote."""


def read_report(report: Report) -> bytes:
    """The report's bytes, if they are those that the manifest has the checksum of.

    Whoever may write an XCom can name any file in it, but only the checksum of one whose content is known to
    them already.

    Raises:
        NotTheReport: says why, for the server's log; a reader of the page need not learn it.
    """
    s3 = s3_client_factory(conf.get("cleartrace", "reports_aws_conn_id", fallback="") or None)
    try:
        place = locate(report.output_uri, s3)
        if place.size() > MAX_BYTES:
            raise NotTheReport(f"{place.uri}: larger than {MAX_BYTES} bytes")
        with place.open() as stream, place.errors_named():
            content = stream.read(MAX_BYTES)
    except StorageError as error:
        raise NotTheReport(str(error)) from None
    if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), report.sha256):
        raise NotTheReport(f"{report.output_uri}: its SHA-256 is not the manifest's")
    return content
