"""What can go wrong with the stack."""

from __future__ import annotations

from evcharge.errors import UserError


class StackError(UserError):
    """The stack cannot do it. The message gives the reason and what to do next."""
