"""Proof that every store agrees: the comparison of all stores, and the way of one session."""
