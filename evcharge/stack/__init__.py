"""Provisions and supervises the servers natively; see `evcharge.stack.stack.Stack`."""
