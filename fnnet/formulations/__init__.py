"""How each piece is computed: the same mathematics in the XLA operations that are fast."""
