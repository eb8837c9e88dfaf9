"""Work that leaves the loop: worker processes, executors, dask, ipyparallel.

Nothing here is imported before its first use. ``_remote`` and ``_worker`` run at the far end.
"""
