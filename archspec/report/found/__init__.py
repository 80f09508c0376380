"""The report of a search: in a terminal, as pictures, and as a page."""
