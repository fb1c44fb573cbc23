"""MONAI Label's application with our routes in front: ``--uvicorn_app wsseg.server.asgi:app``."""

from __future__ import annotations

import logging
import os

from fastapi.middleware.cors import CORSMiddleware
from monailabel.app import app

from wsseg.server.routes import activelearning, admin, batch, datastore, infer, proxy, sessions, train
from wsseg.server.routes.annotate.page import serve_page
from wsseg.server.routes.replies import answer_errors
from wsseg.server.security.access import require_token
from wsseg.server.security.limits import SizeLimit
from wsseg.server.security.names import KnownNames
from wsseg.server.security.request_log import RequestLog
from wsseg.server.settings import LOCAL_ONLY, TOKEN, max_upload_mb

# MONAI Label lets any page that is open in the same browser read the server, and
# fails on a list of those that may. OHIF comes from the server itself.
app.user_middleware = [middleware for middleware in app.user_middleware if middleware.cls is not CORSMiddleware]

logging.getLogger("wsseg").setLevel(logging.INFO)

# MONAI Label's endpoints are ``async def`` around blocking code, so that a scan
# being segmented stops every other request, and they let unknown names and
# damaged uploads through. Ours of the same paths work in threads, and stand
# first: the first route that matches answers.
theirs = list(app.router.routes)
app.router.routes.clear()
for ours in (infer, batch, train, activelearning, datastore, sessions, proxy, admin):
    app.include_router(ours.router)
app.router.routes.extend(theirs)
serve_page(app)
answer_errors(app)

# The last one added is the first one asked.
app.add_middleware(KnownNames, local_only=bool(os.environ.get(LOCAL_ONLY)))
app.add_middleware(SizeLimit, max_upload_mb=max_upload_mb())
# Taken out of the environment, which trainers and other commands inherit.
if token := os.environ.pop(TOKEN, ""):
    require_token(app, token)
app.add_middleware(RequestLog)
