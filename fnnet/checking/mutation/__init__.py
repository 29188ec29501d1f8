"""Mutation testing: a function is made wrong by one edit at a time, and a check has to see it."""
