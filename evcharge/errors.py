"""The error that a user can put right."""


class UserError(RuntimeError):
    """Its message is all that the user needs to read: one line that names what is wrong and what to do."""
