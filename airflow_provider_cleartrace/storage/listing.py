"""Which files of a folder are its rows."""

from __future__ import annotations

from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.locations import Location
from airflow_provider_cleartrace.storage.manifests import PART, SUCCESS, Manifest


def visible(root: Location) -> list[str]:
    """The files below a folder whose path has no segment that begins with ``.`` or ``_``, in order."""
    return [name for name in root.names() if not any(part.startswith((".", "_")) for part in name.split("/"))]


def listed(root: Location, extension: str = "") -> list[str]:
    """The files that a folder is read as: those of its ``_SUCCESS`` manifest, or else all that are visible.

    Args:
        root: The folder.
        extension: Only files whose names end so.

    Raises:
        StorageError: parts of an output are there, and no ``_SUCCESS``.
    """
    if root.child(SUCCESS).is_file():
        manifest = Manifest.read(root.child(SUCCESS))
        if manifest is not None:
            return [entry.name for entry in manifest.files if entry.name.endswith(extension)]
    names = visible(root)
    if parts := [name for name in names if PART.fullmatch(name.rpartition("/")[2])]:
        raise StorageError(
            f"{root.uri}: {parts[0]!r} is part of an output, but there is no {SUCCESS}:"
            " it is still being written or replaced, or its task failed"
        )
    return [name for name in names if name.endswith(extension)]
