"""Human review: pages for annotators, and the labels that they return."""
