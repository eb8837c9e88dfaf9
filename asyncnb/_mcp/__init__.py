"""Lets agents run background cells: a server of the Model Context Protocol, ``asyncnb mcp``."""
