"""Plain Python: the loop, its tasks and their records. Imports nothing but the standard library."""
