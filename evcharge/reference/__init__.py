"""Reference data in MongoDB: stations and EV models."""
