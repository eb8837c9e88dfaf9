"""Work outside the loop: in worker processes, executors, dask and ipyparallel clusters.

Imported on first use. ``engines`` send jobs; ``far`` is the code that runs them.
"""
