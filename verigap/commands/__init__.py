"""One module a command; nothing heavy at the top, since `verigap --help` loads them all."""
