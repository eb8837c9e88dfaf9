"""asyncio's tasks, timeouts and ways to wait, across loops and threads."""
