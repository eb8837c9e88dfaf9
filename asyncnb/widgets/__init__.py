"""The browser side: a feed of what changes, and the widgets that show it."""
