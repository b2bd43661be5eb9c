"""The error whose message is meant for the user."""


class UserError(RuntimeError):
    """One line that says what is wrong and what to do. The command prints it without a traceback."""


class NoSuchThingError(UserError):
    """What was asked for does not exist."""
