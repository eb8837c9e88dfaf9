"""The IPython side: magics, cells, output, interrupts."""
