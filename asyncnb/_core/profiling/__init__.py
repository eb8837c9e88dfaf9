"""Where the time of tasks goes: sampled from another thread, and drawn."""
