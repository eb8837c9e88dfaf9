"""What runs at the far end: it imports nothing of asyncnb outside of this folder."""
