"""The files of a run as the facts of a report: read in batches, and no more of a row kept than is shown."""
