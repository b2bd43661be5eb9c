"""How our rows reach Kafka: messages, the producer, the ledgers of sent messages, files that survive a kill."""
