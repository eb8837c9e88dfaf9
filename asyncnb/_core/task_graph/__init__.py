"""Which task starts after which, follows which, and waits for which now: as a picture."""
