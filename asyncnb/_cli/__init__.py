"""The command ``asyncnb``: what a person or a script does with kernels from outside."""
