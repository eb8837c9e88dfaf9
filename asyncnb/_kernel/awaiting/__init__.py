"""Runs foreground cells on the embedded loop."""
