"""What programs read of tasks: one object for each, with names that are part of the protocol."""
