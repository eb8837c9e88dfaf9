"""What 3.11 and 3.12 lack; to be deleted as a folder with them."""
