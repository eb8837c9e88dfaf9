"""asyncio's tasks, timeouts and waiting functions, across loops and threads."""
