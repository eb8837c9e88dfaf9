"""``map``: many calls with limits, retries and a file that keeps their outcomes."""
