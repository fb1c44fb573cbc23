"""What the annotation page asks of the server, one file a subject."""

API = "/annotate/api"
"""Under which all of it stands."""
