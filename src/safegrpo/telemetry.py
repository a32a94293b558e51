"""Nothing is reported to anybody unless the user has asked for it."""

import os

_OFF = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")


def turn_off() -> None:
    """Tell Hugging Face's libraries to report nothing; what the user has set stays as it is.

    They read it once, when they are imported: so call this before.
    """
    for name in _OFF:
        os.environ.setdefault(name, "1")


def is_off() -> bool:
    return all(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in _OFF)
