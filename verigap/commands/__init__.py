"""One module a command. A module imports nothing heavy at its top: `verigap --help` loads them all."""
