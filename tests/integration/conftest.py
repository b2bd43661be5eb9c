from __future__ import annotations

import pytest
from support import Lake

from evcharge.settings import Settings


@pytest.fixture(scope="session")
def lake(platform: Settings) -> Lake:
    return Lake(platform)
