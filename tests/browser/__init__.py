"""The pages, driven by a real browser."""
