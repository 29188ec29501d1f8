"""What a rule stands on: registration, JAX's extension interface, multilinear forms, windows, argument errors."""
