"""What `asyncnb top` is made of: the terminal, the kernels that are asked, and what is drawn."""
