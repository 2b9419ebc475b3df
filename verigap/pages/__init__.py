"""The report: what it holds, what it says of runs and of results beside them, and how it is laid out."""
