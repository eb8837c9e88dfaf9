"""Tables and stacks of tasks, as text and HTML."""
