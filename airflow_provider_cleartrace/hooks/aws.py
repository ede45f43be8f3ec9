"""S3 clients from Airflow connections."""

from __future__ import annotations

import functools
from typing import Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_provider_cleartrace.storage.s3 import S3ClientFactory, default_s3_client


def s3_client_factory(aws_conn_id: str | None) -> S3ClientFactory:
    """How to make a boto3 S3 client: from a connection, or without one from boto3's own credential chain."""
    return default_s3_client if aws_conn_id is None else functools.partial(_from_connection, aws_conn_id)


def _from_connection(aws_conn_id: str) -> Any:
    try:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook  # noqa: PLC0415  (an optional extra)
    except ImportError:
        raise AirflowOptionalProviderFeatureException(
            f"aws_conn_id={aws_conn_id!r} needs the Amazon provider: install this provider's extra 'amazon',"
            " or leave aws_conn_id unset to use boto3's own credential chain"
        ) from None
    return S3Hook(aws_conn_id=aws_conn_id).get_conn()
