"""The shipped profiles: `campus` and `dc_fast` were fitted to real sessions, `public` and `residential` made from figures."""
