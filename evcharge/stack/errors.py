"""What can go wrong with the stack."""

from __future__ import annotations


class StackError(RuntimeError):
    """The stack cannot do what was asked; the message says what and how to go on."""
