"""What 3.11 and 3.12 lack; delete this folder when support for both is dropped."""
