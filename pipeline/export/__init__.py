"""Tables of what was found: one row per mention, and one row per document and dataset."""
