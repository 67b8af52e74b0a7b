"""Evaluation: precision and recall of the mentions against gold labels."""
