"""Routes each output, result and traceback to its own cell."""
