"""``wsseg serve``: checks first, then MONAI Label's server with our application."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from pathlib import Path

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import home
from wsseg.labels.database.engine import open_store
from wsseg.labels.project import project_of
from wsseg.models.shelf import bundled
from wsseg.server.defaults import DEFAULT_MAX_UPLOAD_MB
from wsseg.server.settings import ServerSettings, check_host, read_token
from wsseg.server.tasks.offered import check_models
from wsseg.server.temporary import temporary_folder

REMOTE = ("http://", "https://")

_SETTINGS = {
    # A scoring process would start with the server and after every sample.
    "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
    # MONAI Label asks an archive for CT only.
    "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": '{"Modality": ["MR", "CT"]}',
}

GRACE_SECONDS = 10
"""How long answers may take that are under way when the server is told to stop: one could hold it for ever."""

PROXIES = "127.0.0.1,::1"
"""Where a reverse proxy is believed whom it passes on: on this machine."""


def serve(
    studies: str | None,
    host: str,
    port: int,
    models: list[str],
    token_file: Path | None = None,
    behind_proxy: bool = False,
    max_upload_mb: int = DEFAULT_MAX_UPLOAD_MB,
) -> None:
    """Serve the models until interrupted.

    Args:
        studies: folder of scans or a DICOMweb URL; None for a demo study that
            is made in the work directory.
        host: address to listen on.
        port: TCP port.
        models: names of those offered; all that are trained if empty.
        token_file: holds what clients must know; None for the environment's
            ``WSSEG_TOKEN``, and without that everybody may come in.
        behind_proxy: a reverse proxy decides who may come in, and says whom it passes on.
        max_upload_mb: largest request.

    Raises:
        WssegError: the models, the studies, the labels, the token or the port
            cannot be used, or the server would be open to a network.
    """
    token = read_token(token_file)
    guarded = bool(token) or behind_proxy
    check_host(host, guarded)
    if models:
        check_models(models)
    check_port(host, port)
    source = check_studies(studies) if studies else demo_studies()
    open_store(project_of(source)).close()
    app = app_folder()
    print(_welcome(source, host, port, bool(token)), flush=True)
    ServerSettings(token=token, local_only=not guarded, max_upload_mb=max_upload_mb).to_environment()
    trusted = PROXIES if behind_proxy else ""
    with temporary_folder():
        _run(["--app", str(app), "--studies", source, "--host", host, "--port", str(port)], models, trusted)


def check_port(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "between 1 and 65535 is possible"
        raise WssegError(f"--port {port}: cannot listen on {host} ({reason})") from error


def check_studies(studies: str) -> str:
    """The folder or URL as MONAI Label takes it, if it can be used.

    MONAI Label keeps labels beside the scans, so a folder must be writable.
    """
    if studies.startswith(REMOTE):
        return _check_archive(studies)
    folder = Path(studies)
    if not folder.is_dir():
        raise NotFoundError(f"--studies {studies}: no such folder")
    for right, word in ((os.R_OK | os.X_OK, "read"), (os.W_OK, "written, but labels are kept in it")):
        if not os.access(folder, right):
            raise WssegError(f"--studies {studies}: cannot be {word}")
    return str(folder.resolve())


def _check_archive(url: str) -> str:
    from wsseg.archive.web.client import Pacs  # DICOM's libraries are imported only when used

    archive = Pacs(url)
    archive.check()
    return archive.url


def demo_studies() -> str:
    """A folder of the work directory, with a synthetic scan in it at first."""
    from wsseg.data.phantom import write_demo_study

    folder = home() / "studies"
    if not any(folder.glob("*.nii.gz")):
        write_demo_study(folder)
    return str(folder)


def app_folder() -> Path:
    """A copy of the app folder in the work directory: MONAI Label writes into it."""
    folder = home() / "app"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(bundled("apps/wsseg") / "main.py", folder)
    except OSError as error:
        raise WssegError(f"{folder}: cannot be written ({error.strerror}), set WSSEG_HOME to another folder") from error
    return folder


def _welcome(studies: str, host: str, port: int, closed: bool) -> str:
    everywhere = host in ("0.0.0.0", "::")
    reached = socket.gethostname() if everywhere else f"[{host}]" if ":" in host else host
    server = f"http://{reached}:{port}"
    ohif = f"{server}/ohif/" if studies.startswith(REMOTE) else "needs studies from a DICOMweb URL, this is a folder"
    lines = (
        f"studies    {studies}",
        f"3D Slicer  module MONAI Label, server {server}",
        f"OHIF       {ohif}",
        f"browser    {server}/annotate/ labels scans and trains models, {server}/openapi.json describes the interface",
        *(["log in     with the token, in 3D Slicer as the password of any user"] if closed else []),
        "The server is ready in about ten seconds; Ctrl-C stops it.",
    )
    return "\n".join(lines)


def _run(arguments: list[str], models: list[str], trusted: str) -> None:
    """MONAI Label's ``start_server`` with a protocol of ours, which ends connections that do nothing."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if models:
        arguments += ["--conf", "models", ",".join(models)]
    import uvicorn
    from monailabel.main import Main  # reads the settings above as it is imported
    from monailabel.utils.others.generic import init_log_config

    from wsseg.server.security.patience import PatientProtocol

    main = Main(logging.WARNING)
    given = main.args_parser().parse_args(["start_server", *arguments, "--verbose", "WARNING"])
    main.start_server_validate_args(given)
    main.start_server_init_settings(given)
    uvicorn.run(
        "wsseg.server.asgi:app",
        host=given.host,
        port=given.port,
        http=PatientProtocol,
        log_level=given.log_level,
        log_config=init_log_config(given.log_config, given.app, "app.log", given.verbose),
        use_colors=True,
        access_log=False,
        forwarded_allow_ips=trusted,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
