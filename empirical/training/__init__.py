"""Matched training runs by TRL's GRPO; the only place below which torch is imported."""
