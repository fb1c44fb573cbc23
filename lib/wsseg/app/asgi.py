"""MONAI Label's application with our routes in front: ``--uvicorn_app wsseg.app.asgi:app``."""

from __future__ import annotations

import logging

from fastapi.middleware.cors import CORSMiddleware
from monailabel.app import app

from wsseg.app import annotate
from wsseg.app.names import KnownNames
from wsseg.app.replies import answer_errors
from wsseg.app.routes import router

# MONAI Label lets any page that is open in the same browser read the server, and
# fails on a list of those that may. OHIF comes from the server itself.
app.user_middleware = [middleware for middleware in app.user_middleware if middleware.cls is not CORSMiddleware]

logging.getLogger("wsseg").setLevel(logging.INFO)

app.include_router(router)
# The first route that matches answers.
app.router.routes.insert(0, app.router.routes.pop())
app.include_router(annotate.router)
annotate.serve_page(app)
app.add_middleware(KnownNames)
answer_errors(app)
