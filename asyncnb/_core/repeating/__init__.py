"""Work that is done more than once, or at times: rounds, retries, the wall clock."""
