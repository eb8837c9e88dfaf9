"""Runs cells as tasks."""
