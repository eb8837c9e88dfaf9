"""What everything else is built on: it imports nothing of asyncnb but itself."""
