"""Recording the steps of tasks."""
