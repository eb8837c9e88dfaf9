"""Reaches kernels from another process, by the protocol in ``notebooks/reference/protocol.md``."""
