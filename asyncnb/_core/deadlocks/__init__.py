"""Why tasks wait for each other: the wait graph, its knots, and the sentences about them."""
