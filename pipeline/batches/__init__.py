"""Asks out in batches, answers back in, and the ledger that loses neither."""
