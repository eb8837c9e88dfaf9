"""The embedded event loop, its thread, and who blocks it."""
