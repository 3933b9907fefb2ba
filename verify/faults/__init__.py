"""Named faults, one family a file: each replaces one function of the real system by its smallest wrong version."""
