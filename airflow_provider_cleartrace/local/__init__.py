"""ClearTrace Local: a server of the ClearTrace wire with its own engine, for data that stays at home."""
