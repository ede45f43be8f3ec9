"""ClearTrace Local: a server of our own that speaks the ClearTrace wire, for development, CI and data that must stay at home."""
