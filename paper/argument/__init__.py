"""What the manuscript says in numbers: every one by a named function, from theory or from what is committed."""
