"""The browser side: a feed of changes, and the widgets that show them."""
