"""Profiles that are shipped: `campus` and `dc_fast` fitted to real sessions, `public` and `residential` made of figures."""
