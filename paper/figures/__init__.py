"""Figures of the pages and of the manuscript: each draws numbers it is given."""
