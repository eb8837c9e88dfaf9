"""The magics, their verbs and their settings."""
