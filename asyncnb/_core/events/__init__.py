"""What widgets, traits, comms and the shell do, as something that can be awaited."""
