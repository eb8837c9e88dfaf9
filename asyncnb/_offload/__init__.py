"""Work that leaves the loop: worker processes, executors, dask, ipyparallel.

Nothing here is imported before its first use. ``remote`` and ``worker`` run at the far end.
"""
