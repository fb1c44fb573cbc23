"""``wsseg serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsseg.cli.common import MaxScanGb, allow
from wsseg.server.defaults import DEFAULT_MAX_UPLOAD_MB


def serve(
    studies: Annotated[str | None, typer.Option(help="Folder of scans, or a DICOMweb URL.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    models: Annotated[str, typer.Option(help="Names separated by commas; all by default.")] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that clients must know; else $WSSEG_TOKEN.")
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy on this machine lets clients in; believe its headers.")
    ] = False,
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Largest request that is taken.")] = DEFAULT_MAX_UPLOAD_MB,
    max_scan_gb: MaxScanGb = None,
    dicom_port: Annotated[int, typer.Option(min=0, max=65535, help="Of a DICOM node (C-STORE); 0 for none.")] = 0,
    dicom_host: Annotated[str, typer.Option(help="Address that the node listens on.")] = "127.0.0.1",
    aet: Annotated[str, typer.Option(help="The node's title.")] = "WSSEG",
    dicom_callers: Annotated[str, typer.Option(help="Titles of those who may send, separated by commas.")] = "",
    dicom_rules: Annotated[str, typer.Option(help="CSV: model, and modality, body part, description.")] = "",
    dicom_to: Annotated[str, typer.Option(help="Where results go: an archive's URL, TITLE@host:port, a folder.")] = "",
    dicom_cert: Annotated[str, typer.Option(help="File of the node's certificate, for TLS.")] = "",
    dicom_key: Annotated[str, typer.Option(help="File of its key.")] = "",
    dicom_ca: Annotated[str, typer.Option(help="File of the authority that others' certificates are of.")] = "",
) -> None:
    """Serve the models to 3D Slicer, OHIF and MITK; makes a demo study where none are named."""
    from wsseg.server.node.settings import NodeSettings
    from wsseg.server.serve import serve as run

    allow(max_scan_gb)
    node = NodeSettings(
        host=dicom_host,
        port=dicom_port,
        aet=aet,
        callers=dicom_callers,
        rules=dicom_rules,
        to=dicom_to,
        cert=dicom_cert,
        key=dicom_key,
        ca=dicom_ca,
    )
    if dicom_port:
        node.check()
    node.to_environment()
    run(studies, host, port, [name for name in models.split(",") if name], token_file, behind_proxy, max_upload_mb)
