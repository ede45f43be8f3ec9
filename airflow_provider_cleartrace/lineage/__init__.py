"""What a task read and made, for OpenLineage."""
