"""What is known of stations and vehicles before anything happens: the registry feed, and reference data in MongoDB."""
