"""Generated pages: numbers in words and tables, nothing computed."""
