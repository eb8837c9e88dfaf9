"""Cells that run as tasks."""
