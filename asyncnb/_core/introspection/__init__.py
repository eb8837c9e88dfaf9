"""Read any asyncio task without changing it."""
