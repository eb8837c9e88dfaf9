"""What code has left behind: coroutines never awaited, tasks without a reference, open servers."""
