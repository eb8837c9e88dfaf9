"""Record the steps of tasks."""
