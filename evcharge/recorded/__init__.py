"""Recorded charging sessions: read from files, replayed to Kafka, fitted to a profile, compared with a simulation."""
