"""Which datasets does each page of a paper mention, how, and in which sentence."""
