"""asyncio's locks and queues, shared between the loops and threads of a process."""
