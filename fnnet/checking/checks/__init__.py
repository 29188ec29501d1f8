"""The checks, one file a check, named after it."""
