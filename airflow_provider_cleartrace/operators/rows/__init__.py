"""Tasks that put a model to work on rows: read in batches, asked for a few at a time, published whole."""
