"""Questions are sent in batches and their answers collected, so that none is lost and none is paid for twice."""
