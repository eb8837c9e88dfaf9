"""Reads any asyncio task, and changes none."""
