"""Tasks with a name and a record, and groups of them."""
