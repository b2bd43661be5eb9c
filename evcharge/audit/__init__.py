"""Proof that every store agrees: the comparison of all stores, and the path of one session."""
