"""What a wrong cotangent looks like, in words: hypotheses that explain every entry of it."""
