"""Readers of recorded charging sessions. `read_sessions` recognises the format by the file's header."""

from evcharge.recorded.readers.model import RecordedSession, RecordingError, Site
from evcharge.recorded.readers.recording import ANY_YEAR, Recording, read_sessions
from evcharge.recorded.readers.session_file import Table

__all__ = ["ANY_YEAR", "RecordedSession", "Recording", "RecordingError", "Site", "Table", "read_sessions"]
