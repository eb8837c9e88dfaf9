"""The embedded event loop, its thread, and what blocks it."""
