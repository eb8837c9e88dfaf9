"""asyncnb: structured concurrency for notebooks."""
