"""Engines, which run jobs: worker processes, executors and clusters."""
