"""What the annotation page asks of the server, under ``/annotate/api/``, one file a subject."""
