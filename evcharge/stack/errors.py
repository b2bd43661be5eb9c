"""What can go wrong with the stack."""

from __future__ import annotations

from evcharge.errors import UserError


class StackError(UserError):
    """The stack cannot do what was asked; the message says what and how to go on."""
