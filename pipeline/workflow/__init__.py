"""Running one stage: planning and submitting, waiting, collecting, merging answers into documents."""
