"""`python -m verigap`."""

from __future__ import annotations

from verigap.cli import main

main()
