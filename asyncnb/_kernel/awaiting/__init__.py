"""Cells that run now, on the embedded loop."""
