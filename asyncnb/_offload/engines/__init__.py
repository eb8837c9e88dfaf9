"""What runs jobs: worker processes, executors and clusters."""
