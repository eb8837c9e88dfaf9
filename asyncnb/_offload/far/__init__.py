"""The code that runs where work is sent; it imports nothing of asyncnb outside this folder."""
