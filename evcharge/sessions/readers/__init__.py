"""Readers of recorded charging sessions. `read_sessions` recognises the format by the file's header."""

from evcharge.sessions.readers.model import RecordedSession, RecordingError, Site
from evcharge.sessions.readers.recording import Recording, Table, read_sessions

__all__ = ["RecordedSession", "Recording", "RecordingError", "Site", "Table", "read_sessions"]
