"""The training engine: no domain, no file format, no tracker; it sees torch only."""
