"""The ClearTrace wire, without I/O: its operations, the shapes that travel, its errors."""
