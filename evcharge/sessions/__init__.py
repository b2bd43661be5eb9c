"""Recorded and simulated charging sessions: reading them, publishing them to Kafka, keeping the producers' ledgers."""
