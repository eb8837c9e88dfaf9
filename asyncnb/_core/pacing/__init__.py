"""How often calls start, and when a call that failed starts again."""
