"""How anything of ours reaches Kafka: messages, the producer, ledgers of what was sent, files that survive a kill."""
