"""Labels out to people, and their corrections back in."""
