"""What a task reads must be what it has asked for: a file that is rewritten meanwhile is refused."""

from __future__ import annotations

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location


def check_unchanged(location: Location, asked: str | None, read: str | None = None) -> None:
    """Refuse a file that is another one by now.

    Args:
        location: The file.
        asked: Its fingerprint when the task began.
        read: That of the bytes that were read, where it is known.

    Raises:
        StorageError: the fingerprints differ.
    """
    if asked != (read or location.fingerprint()):
        raise StorageError(
            f"{location.uri}: the file was changed while the task ran, and nothing was started with it. "
            "Whoever writes it should write another file and rename that"
        )
