"""The foundation of the package: it imports nothing of asyncnb outside this folder."""
