"""``asyncnb.map``: a function called on many items, as one task."""
