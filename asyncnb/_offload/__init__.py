"""Work that leaves the loop: worker processes, executors, dask, ipyparallel.

Nothing here is imported before its first use. ``engines`` send jobs, ``far`` runs them.
"""
