"""Logged steps and real groups against the exact finite-group law of `theory.conditional`: numbers only."""
