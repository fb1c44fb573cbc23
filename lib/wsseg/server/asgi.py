"""MONAI Label's application with our routes in front: ``--uvicorn_app wsseg.server.asgi:app``."""

from __future__ import annotations

import logging

from fastapi.middleware.cors import CORSMiddleware
from monailabel.app import app

from wsseg.server.operations import routes as operations
from wsseg.server.operations.archives import serve_archive_page
from wsseg.server.routes import activelearning, admin, batch, datastore, infer, info, sessions, train
from wsseg.server.routes.annotate.page import serve_page
from wsseg.server.routes.replies import answer_errors
from wsseg.server.security.access import require_token
from wsseg.server.security.headers import PageHeaders
from wsseg.server.security.library_words import keep_to_ourselves
from wsseg.server.security.limits import SizeLimit
from wsseg.server.security.names import KnownNames
from wsseg.server.security.request_log import RequestLog
from wsseg.server.settings import ServerSettings, forget_token
from wsseg.server.viewers import ohif, proxy

# MONAI Label lets any page that is open in the same browser read the server, and
# fails on a list of those that may. OHIF comes from the server itself.
app.user_middleware = [middleware for middleware in app.user_middleware if middleware.cls is not CORSMiddleware]

logging.getLogger("wsseg").setLevel(logging.INFO)
keep_to_ourselves()

# MONAI Label's endpoints are ``async def`` around blocking code, so that a scan
# being segmented stops every other request, and they let unknown names and
# damaged uploads through. Ours of the same paths work in threads, and stand
# first: the first route that matches answers. Its page under /docs runs scripts
# of public networks; /openapi.json says the same.
theirs = [route for route in app.router.routes if getattr(route, "path", "") != app.redoc_url]
app.router.routes.clear()
for ours in (info, infer, batch, train, activelearning, datastore, sessions, ohif, proxy, admin, operations):
    app.include_router(ours.router)
app.router.routes.extend(theirs)
answer_errors(app)

settings = ServerSettings.from_environment()
forget_token()
serve_page(app, with_logout=bool(settings.token))
serve_archive_page(app)

# The last one added is the first one asked.
app.add_middleware(KnownNames, local_only=settings.local_only)
app.add_middleware(SizeLimit, max_upload_mb=settings.max_upload_mb)
if settings.token:
    require_token(app, settings.token)
app.add_middleware(PageHeaders)
app.add_middleware(RequestLog)
