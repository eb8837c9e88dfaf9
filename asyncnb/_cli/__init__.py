"""The command ``asyncnb``: what a user or a script does with kernels from outside."""
