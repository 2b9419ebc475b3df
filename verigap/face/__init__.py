"""The verbs of the library, one function each, for Python and for the command line alike.

A verb takes what the command line takes (a path as text, `where="group_size=8"`, `law="sigmoid"`) or the objects
behind it (a run table, a data frame), computes nothing itself, and returns a frozen result that knows how to be
shown. Reached by name from `verigap`, so that heavy imports wait until a verb is used.
"""
