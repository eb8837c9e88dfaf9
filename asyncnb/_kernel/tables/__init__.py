"""Tables of tasks, as text and HTML."""
