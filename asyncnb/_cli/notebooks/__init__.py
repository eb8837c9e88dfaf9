"""Running a notebook without a front end, for ``asyncnb run``."""
